"""Trims recorded exchanges of MLflow's own client and server to what the embedded registry serves.

    python3 make_golden.py RECORDING.jsonl | gzip -9n > golden-3.18.jsonl.gz

A recording has one exchange a line: method, path, query, request, status, response. What stays is the registry and the artifact proxy.
The embedded registry has no runs and logged models yet, so a source models:/{{model:N}} is written as the address in the proxy that the
real server resolves it to, and the run that the real server fills in is put into the request. Model files are cut to their first bytes,
in the upload and in the download alike, and listings get the sizes of what is then there.
"""

import base64
import json
import re
import sys

CUT = 64
KEEP = re.compile(r"^/(api/2\.0/mlflow/(registered-models|model-versions)/|api/2\.0/mlflow-artifacts/)")


def body_bytes(body):
    if body is None:
        return b""
    if "base64" in body:
        return base64.b64decode(body["base64"])
    if "text" in body:
        return body["text"].encode()
    return json.dumps(body["json"]).encode()


def main():
    exchanges = [json.loads(line) for line in open(sys.argv[1])]
    files, out = {}, []
    prefix = "/api/2.0/mlflow-artifacts/artifacts/"
    for x in exchanges:
        if not KEEP.match(x["path"]):
            continue
        text = json.dumps({k: x[k] for k in ("request", "response", "query")})
        text = re.sub(r"models:/(\{\{model:\d+\}\})", r"mlflow-artifacts:/1/models/\1/artifacts", text)
        text = re.sub(r"\"(\{\{model:\d+\}\})\"", r'"\1"', text)
        x.update(json.loads(text))
        request = (x["request"] or {}).get("json")
        if x["path"].endswith("/model-versions/create") and x["status"] == 200:
            request.pop("model_id", None)
            if run := x["response"]["json"]["model_version"]["run_id"]:
                request["run_id"] = run
        if x["path"].startswith(prefix):
            name = x["path"][len(prefix):]
            if x["method"] == "PUT":
                files[name] = body_bytes(x["request"])[:CUT]
                x["request"] = {"base64": base64.b64encode(files[name]).decode()}
            elif x["method"] == "GET" and x["status"] == 200:
                if name not in files:
                    continue  # uploaded outside the recording
                x["response"] = {"base64": base64.b64encode(files[name]).decode()}
        elif x["path"] == prefix[:-1]:
            folder = re.sub(r"^path=", "", x["query"]).replace("%2F", "/")
            listed = x["response"]["json"].get("files", [])
            if any(not f["is_dir"] and folder + "/" + f["path"] not in files for f in listed):
                continue
            for f in listed:
                if not f["is_dir"]:
                    f["file_size"] = len(files[folder + "/" + f["path"]])
        out.append({k: x[k] for k in ("phase", "method", "path", "query", "request", "status", "response", "n")})
    for x in out:
        print(json.dumps(x, separators=(",", ":")))


main()
