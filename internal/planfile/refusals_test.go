package planfile

// specFaults are specs with what is said of them; the first line stands in line 5, indented by two.
var specFaults = []struct {
	spec string
	want []string
}{
	{"champion: Live", []string{`5:13: champion: is "Live": use a stage (Production, Staging), a version number or "@alias"`}},
	{"champion: models:/m/1", []string{`5:13: champion: is "models:/m/1": use a stage (Production, Staging), a version number or "@alias"`}},
	{"challenger: 0", []string{`5:15: challenger: is "0": use a stage (Production, Staging), a version number or "@alias"`}},
	{"challenger: 1.5", []string{`5:15: challenger: is the number 1.5: write it in quotes if the text is meant`}},
	{"challenger: \"@a b\"", []string{`5:15: challenger: is "@a b": use a stage (Production, Staging), a version number or "@alias"`}},
	{"challenger: production", []string{`5:15: challenger: is Production like the other side: a version cannot be compared with itself`}},
	{`champion: "@live"`, []string{`5:13: champion: is @live, which a promotion does not move: use Production, "@champion" or a version number`}},
	{"champion: Archived", []string{`5:13: champion: is Archived, which a promotion does not move: use Production, "@champion" or a version number`}},
	{"champion:", []string{`5:12: champion: has no value: give one, or remove the key to have the default`}},
	{"champion: Production\nchampion: 3\nchallenger: 4", []string{`6:3: champion: is there twice: remove one of them (the first is in line 5)`}},
	{"<<: {hold: {}}", []string{`5:3: spec: merge keys (<<) are not read: write the keys out`}},
	{"[1]: 2", []string{`5:3: spec: has a list as a key: keys are plain names`}},
	{"strategi: {}", []string{`5:3: strategi: unknown key: did you mean strategy?`}},
	{"flavor: red", []string{`5:3: flavor: unknown key: use one of analysis, challenger, champion, hold, notifications, offlineGate, promotion, routing, strategy`}},

	{"offlineGate: {data: h.csv}", []string{`5:16: offlineGate: label is missing: name the 0/1 column of the data`}},
	{"offlineGate: {label: y}", []string{`5:16: offlineGate: data is missing: name labeled data, or write offlineGate: {off: true, reason: WHY}`}},
	{"offlineGate: [x]", []string{`5:16: offlineGate: is a list: a mapping (key: value) belongs here`}},
	{"offlineGate: off", []string{`5:16: offlineGate: is the text "off": a mapping (key: value) belongs here`}},
	{"offlineGate: {off: true}", []string{`5:16: offlineGate: reason is missing: say why the gate is off`}},
	{"offlineGate: {off: yes, reason: x}", []string{
		`5:16: offlineGate: data is missing: name labeled data, or write offlineGate: {off: true, reason: WHY}`,
		`5:16: offlineGate: label is missing: name the 0/1 column of the data`,
		`5:22: offlineGate.off: is the text "yes": use true or false`,
		`5:35: offlineGate.reason: explains a gate that is not off: add off: true, or remove the reason`,
	}},
	{"offlineGate: {data: 's3://b/h.csv', label: y}", []string{`5:23: offlineGate.data: is the address "s3://b/h.csv": data is a CSV or Parquet file on the machine that runs the gate`}},
	{"offlineGate: {data: '', label: y}", []string{`5:23: offlineGate.data: is an empty text: give a value, or remove the key to have the default`}},
	{"offlineGate: {data: h.csv, label: y, mode: exact}", []string{`5:46: offlineGate.mode: "exact" is not in this version: use point, which is the default`}},
	{"offlineGate: {data: h.csv, label: y, mode: fast}", []string{`5:46: offlineGate.mode: is the text "fast": use point`}},
	{"offlineGate: {data: h.csv, label: y, threshold: 50}", []string{`5:51: warning: offlineGate.threshold: is 50: scores that are probabilities lie between 0 and 1`}},
	{"offlineGate: {data: h.csv, label: y, threshold: .nan}", []string{`5:51: offlineGate.threshold: is the number .nan: use a finite number`}},
	{"offlineGate: {data: h.csv, label: y, threshold: half}", []string{`5:51: offlineGate.threshold: is the text "half": a number belongs here`}},
	{"offlineGate: {data: h.csv, label: y, championScores: a}", []string{`5:56: offlineGate.championScores: stands alone: name challengerScores too`}},
	{"offlineGate: {data: h.csv, label: y, challengerScores: a}", []string{`5:58: offlineGate.challengerScores: stands alone: name championScores too`}},
	{"offlineGate: {data: h.csv, label: y, championScores: a, challengerScores: a}", []string{`5:77: offlineGate.challengerScores: is the champion's column "a": two columns are compared`}},
	{"offlineGate: {data: h.csv, label: y, championScores: a, challengerScores: b}", []string{
		`5:56: warning: offlineGate.championScores: score columns have no latency: write criteria: {latencyP95: off}, or the gate stays undecided`,
	}},
	{"offlineGate:\n  data: h.csv\n  label: y\n  criteria: {recall: 95, fpr: -1, latencyP95: 0s, f1Ratio: 0, precision: 1}", []string{
		`8:24: offlineGate.criteria.recall: is the number 95: use a share between 0 and 1, such as 0.95`,
		`8:33: offlineGate.criteria.fpr: is the number -1: use a share between 0 and 1`,
		`8:49: offlineGate.criteria.latencyP95: 0s is too short: at least 1µs`,
		`8:62: offlineGate.criteria.f1Ratio: is 0: use a ratio to the champion's F1 above 0, such as 1.01 for one percent better`,
		`8:65: offlineGate.criteria.precision: unknown key: use one of f1Ratio, fpr, latencyP95, recall`,
	}},
	{"offlineGate: {data: h.csv, label: y, criteria: {latency_p95: 100ms, recall: 95 %}}", []string{
		`5:51: offlineGate.criteria.latency_p95: unknown key: did you mean latencyP95?`,
		`5:79: offlineGate.criteria.recall: is the text "95 %": write the number without the sign, such as 95`,
	}},

	{"strategy: {blueGreen: {}}", []string{`5:14: strategy.blueGreen: unknown key: use one of canary`}},
	{"strategy: {canary: {steps: []}}", []string{`5:30: steps: is empty: the last step is setWeight: 100`}},
	{"strategy: {canary: {steps: {setWeight: 5}}}", []string{`5:30: steps: is a mapping: a list belongs here`}},
	{"strategy:\n  canary:\n    steps:\n      - setWeight: 5\n      - pause: {duration: \"30\"}\n      - setWeight: 100", []string{
		`9:29: steps[1].pause.duration: "30" has no unit: write 30s, 30m or 1h`,
	}},
	{"strategy:\n  canary:\n    steps:\n      - setWeight: 5 %\n      - pause: 30m\n      - {}\n      - wait: 5m\n      - {setWeight: 5, pause: {}}\n      - setWeight: 0.005\n      - setWeight: 101\n      - setWeight: 1.234\n      - pause: {duration: 1d}\n      - pause: {duration: 9999h}\n      - pause:", []string{
		`8:22: steps[0].setWeight: is the text "5 %": write the number without the sign, such as 5`,
		`9:18: steps[1].pause: must be a mapping: write pause: {duration: 30m}, or pause: {} to wait for a person`,
		`10:11: steps[2]: is empty: write setWeight: PERCENT or pause: {duration: 30m}`,
		`11:11: steps[3].wait: unknown key: use one of pause, setWeight`,
		`12:11: steps[4]: has setWeight and pause: make two steps of them`,
		`13:22: steps[5].setWeight: is 0.005: traffic is divided in parts of 0.01 percent, so use at most two decimals`,
		`14:22: steps[6].setWeight: is 101: use percent of the traffic above 0, at most 100`,
		`15:22: steps[7].setWeight: is 1.234: traffic is divided in parts of 0.01 percent, so use at most two decimals`,
		`16:29: steps[8].pause.duration: "1d" is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)`,
		`17:29: steps[9].pause.duration: 9999h is too long: at most 8760h`,
		`18:17: steps[10].pause: has no value: give one, or remove the key to have the default`,
	}},
	{"strategy:\n  canary:\n    steps:\n      - pause: {}\n      - setWeight: 25\n      - setWeight: 5\n      - setWeight: 50", []string{
		`8:11: steps[0]: is a pause: the first step must be a setWeight`,
		`10:11: steps[2]: weight 5 does not grow: the step before has 25`,
		`11:11: steps[3]: weight 50 follows weight 25 without a pause: add pause: {duration: 30m} between them`,
		`11:11: steps[3]: is the last step but not setWeight: 100: a rollout ends with all traffic`,
	}},
	{"strategy:\n  canary:\n    steps:\n      - setWeight: 100\n      - pause: {duration: 1m}", []string{
		`9:11: steps[1]: pauses after setWeight: 100: the promotion is the last step, and strategy.canary.watch looks on after it`,
	}},
	{"strategy: {canary: {watch: {duration: -1s, onFail: rollback}}}", []string{
		`5:41: watch.duration: -1s is too short: at least 0s`,
		`5:54: watch.onFail: is the text "rollback": use undo or notify`,
	}},

	{"analysis: {mode: sequential}", []string{`5:20: analysis.mode: "sequential" is not in this version: use threshold, which is the default`}},
	{"analysis: {mode: bayes, alpha: 0.01, onInconclusive: hold}", []string{
		`5:20: analysis.mode: is the text "bayes": use threshold`,
		`5:34: analysis.alpha: is not in this version: it belongs to mode: sequential; remove it`,
		`5:56: analysis.onInconclusive: is not in this version: it belongs to mode: sequential; remove it`,
	}},
	{"analysis: {tick: 1ms, window: 0, minRequests: 1.5, consecutive: many}", []string{
		`5:20: analysis.tick: 1ms is too short: at least 10ms`,
		`5:33: analysis.window: is the number 0: use a whole number from 1 to 1000000`,
		`5:49: analysis.minRequests: is the number 1.5: use a whole number from 1 to 1000000`,
		`5:67: analysis.consecutive: is the text "many": a number belongs here`,
	}},
	{"analysis: {errors: {slo: 5}, latency: {slo: 100, quantile: 1}}", []string{
		`5:28: analysis.errors.slo: is the number 5: use a share between 0 and 1, such as 0.05`,
		`5:47: analysis.latency.slo: "100" has no unit: write 100s, 100m or 1h`,
		`5:62: analysis.latency.quantile: is 1: use a share above 0 and below 1, such as 0.05`,
	}},
	{"analysis: {errors: {enabled: false, margin: 1}, latency: {enabled: false, slowdown: 2}}", []string{
		`5:13: analysis: errors and latency are both off, so nothing would be judged: enable one`,
		`5:47: analysis.errors.margin: is not in this version: it belongs to mode: sequential; remove it`,
		`5:87: analysis.latency.slowdown: is not in this version: it belongs to mode: sequential; remove it`,
	}},
	{"analysis: {window: 2, consecutive: 3}", []string{
		`5:13: warning: analysis: consecutive 3 is more than window 2: a failure takes longer to be seen than the window is`,
	}},

	{"hold: {max: 0s, then: promote}", []string{
		`5:15: hold.max: 0s is too short: at least 1ms`,
		`5:25: hold.then: is the text "promote": use rollback or keep`,
	}},
	{"routing: {key: 'X User', field: 7, by: cookie, missing: canary, uris: alias, compat: loose}", []string{
		`5:18: routing.key: is "X User": a header name has letters, digits and dashes, such as X-Customer-Id`,
		`5:35: routing.field: is the number 7: write it in quotes if the text is meant`,
		`5:42: routing.by: is the text "cookie": use key or random`,
		`5:59: routing.missing: is the text "canary": use champion or random`,
		`5:73: routing.uris: is the text "alias": use stage or version`,
		`5:88: routing.compat: is the text "loose": use extended or strict`,
	}},
	{"promotion: {mode: tags}", []string{`5:21: promotion.mode: is the text "tags": use stages, aliases or both`}},
	{"promotion: {mode: aliases}", []string{
		`5:21: promotion.mode: is aliases, but the champion is Production, which only stages move: use both, or champion: "@champion"`,
	}},
	{"champion: \"@champion\"\npromotion: {mode: stages}", []string{
		`6:21: promotion.mode: is stages, but the champion is @champion, which only aliases move: use both, or champion: Production`,
	}},
	{"notifications: [log, log, 3]", []string{
		`5:24: notifications[1]: channel "log" is there twice: remove one of them`,
		`5:29: notifications[2]: is the number 3: write it in quotes if the text is meant`,
	}},
	{"notifications: log", []string{`5:18: notifications: is the text "log": a list belongs here`}},
	{"hold: !custom {max: 1h}", []string{`5:9: hold: is a value with the tag !custom: a mapping (key: value) belongs here`}},
	{"promotion: {mode: !!binary c3RhZ2Vz}", []string{`5:21: promotion.mode: is "c3RhZ2Vz" with the tag !!binary: use stages, aliases or both`}},
}
