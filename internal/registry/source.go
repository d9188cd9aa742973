package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"serin/internal/model"
	"serin/internal/store"
)

// resolveSource decides where the files of a new version lie. Source stays what the client gave, except that a reference to another version is
// written with its number; Storage is what get-download-uri answers.
func resolveSource(ctx context.Context, tx *store.Tx, v *store.ModelVersion) error {
	u, err := url.Parse(v.Source)
	if err != nil || hasDotDot(v.Source) {
		return badSource(v.Source, "It is not a URL, or has '..' in its path.")
	}
	switch {
	case u.Scheme == "", u.Scheme == "file", len(u.Scheme) == 1: // one letter is a drive
		return badSource(v.Source, "A folder of this machine is not accepted: upload the files to mlflow-artifacts:/, or use `serin register`.")
	case u.Scheme == "runs":
		return badSource(v.Source, "Runs are not in this version of serin's registry.")
	case u.Scheme == "models":
		return resolveModel(ctx, tx, v)
	case u.Scheme == "mlflow-artifacts":
		// Decoded as an upload's path is, or the version would point beside the files that it protects.
		path, ok := decodeFully(strings.Trim(u.Path, "/"))
		if !ok || u.Host != "" || strings.Contains(path, "#") || model.ValidatePath(path) != nil {
			return badSource(v.Source, "Give mlflow-artifacts:/ and a path.")
		}
		v.Storage = store.ArtifactScheme + path
		return nil
	}
	v.Storage = v.Source
	return nil
}

func badSource(source, why string) error {
	return invalid("Invalid model version source: '%s'. %s", source, why)
}

// resolveModel copies the place of the files, and the run when none is given, from another version.
func resolveModel(ctx context.Context, tx *store.Tx, v *store.ModelVersion) error {
	ref, err := model.ParseRef(v.Source)
	if err != nil {
		return badSource(v.Source, "Give models:/NAME/VERSION; logged models (models:/m-...) are not in this version of serin's registry.")
	}
	of, err := versionOf(ctx, tx, ref)
	if err != nil {
		return err
	}
	v.Source, v.Storage = fmt.Sprintf("models:/%s/%d", of.Name, of.Version), of.Storage
	if v.RunID == "" {
		v.RunID = of.RunID
	}
	return nil
}

func versionOf(ctx context.Context, tx *store.Tx, ref model.Ref) (store.ModelVersion, error) {
	switch ref.Kind {
	case model.RefAlias:
		return byAlias(ctx, tx, aliasIn{Name: text(ref.Name), Alias: text(ref.Alias)})
	case model.RefVersion:
		number, err := text(ref.Version).version()
		if err != nil {
			return store.ModelVersion{}, err
		}
		v, err := tx.ModelVersion(ctx, ref.Name, number)
		return v, mapVersion(err, ref.Name, number)
	case model.RefStage:
		versions, err := tx.ModelVersions(ctx, ref.Name)
		if err != nil {
			return store.ModelVersion{}, err
		}
		for _, v := range versions {
			if v.Stage == ref.Stage {
				return v, nil
			}
		}
	case model.RefURL, model.RefPath:
	}
	return store.ModelVersion{}, &apiError{status: http.StatusNotFound, code: codeNotFound, message: fmt.Sprintf("No versions of model with name '%s' and stage '%s' found", ref.Name, ref.Stage)}
}

// hasDotDot looks for '..' as MLflow does: percent-decoded again and again, with either separator. What is escaped deeper than that hides something.
func hasDotDot(s string) bool {
	s, ok := decodeFully(s)
	if !ok {
		return true
	}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '\\' || r == '?' || r == '#' }) {
		if part == ".." {
			return true
		}
	}
	return false
}

// maxEscapes bounds the rounds of decodeFully: each costs a pass over the text, and nobody escapes escapes that often in good faith.
const maxEscapes = 10

// decodeFully undoes percent encoding until nothing changes; a broken escape ends it. It is false for what is still escaped after maxEscapes rounds.
func decodeFully(s string) (string, bool) {
	for range maxEscapes {
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == s {
			return s, true
		}
		s = decoded
	}
	return s, false
}
