package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a file, or with Warning one that is allowed but unwise.
type Fault struct {
	File string `json:"file"`
	// Line and Column count from 1; the column counts characters. Line 0 is for what has no place in a file: File then says what it is about,
	// such as "environment PROMETHEUS_URL".
	Line   int `json:"line"`
	Column int `json:"column"`
	// Message begins with the key that it is about and ends with what to do.
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
}

// String is "plans/fraud.yaml:12:7: MESSAGE"; warnings say so before the message.
func (f Fault) String() string {
	kind := ""
	if f.Warning {
		kind = "warning: "
	}
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s%s", f.File, kind, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", f.File, f.Line, f.Column, kind, f.Message)
}

// Error is the refusal of a file: every fault that is no warning, in the order of the file.
type Error struct {
	Faults []Fault
}

// Error is one line: the first fault, and how many more there are.
func (e *Error) Error() string {
	switch len(e.Faults) {
	case 0:
		return "refused for no stated fault"
	case 1:
		return e.Faults[0].String()
	}
	for _, f := range e.Faults {
		if f.Line > 0 {
			return fmt.Sprintf("%s (and %d more: serin lint %s lists them)", e.Faults[0], len(e.Faults)-1, f.File)
		}
	}
	return fmt.Sprintf("%s (and %d more like it)", e.Faults[0], len(e.Faults)-1)
}

// Refusal makes an error of the faults that are no warnings; nil when there is none.
func Refusal(faults []Fault) error {
	hard := slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool { return f.Warning })
	if len(hard) == 0 {
		return nil
	}
	return &Error{Faults: hard}
}

// sorted puts faults in the order of the file and drops repetitions, which an alias used twice causes.
func sorted(faults []Fault) []Fault {
	out := slices.Clone(faults)
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(out)
}

// oneLine keeps a message on one line, whatever a key or a value contains.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}
