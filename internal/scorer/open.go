package scorer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"serin/internal/forest"
	"serin/internal/forest/xgboost"
	"serin/internal/model"
)

// Registry fetches the files of a registered version. Fetch may be called again after any error; an error of the registry comes back wrapped, so that
// a caller can tell an unknown model from a registry that is away. The files must stay as they are while a scorer is opened from them.
type Registry interface {
	Fetch(ctx context.Context, ref model.Ref) (Fetched, error)
}

// Fetched is a version's files on this machine.
type Fetched struct {
	// Dir holds the files: an MLmodel and what it names, or one bare model file.
	Dir string
	// Name is the registered model, Pin the version and the digest of its files.
	Name string
	Pin  model.Pin
}

// Options configure an Opener.
type Options struct {
	// Registry resolves models:/ references; nil makes opening one an error.
	Registry Registry
	// HTTP sends requests to model URLs; a client of its own when nil. Its Timeout should be 0: Timeout below is what bounds a request.
	HTTP *http.Client
	// Logger is told of retries; nothing is logged when nil.
	Logger *slog.Logger
	// Timeout bounds one request to a model URL, 60 s when 0.
	Timeout time.Duration
	// MaxModelBytes is the largest model file, 1 GiB when 0.
	MaxModelBytes int64
}

// Opener opens scorers. It is safe for concurrent use.
type Opener struct {
	options Options
}

// NewOpener fills in the defaults of options.
func NewOpener(options Options) *Opener {
	if options.HTTP == nil {
		options.HTTP = &http.Client{}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Timeout <= 0 {
		options.Timeout = 60 * time.Second
	}
	if options.MaxModelBytes <= 0 {
		options.MaxModelBytes = 1 << 30
	}
	return &Opener{options: options}
}

// Open resolves ref and gives a scorer for it, or says why there is none and what can be done instead. A URL is not contacted.
func (o *Opener) Open(ctx context.Context, ref model.Ref) (Scorer, error) {
	switch {
	case ref.Kind == model.RefURL:
		return orNil(newRemote(o, ref.Location))
	case ref.Kind == model.RefPath:
		return orNil(o.openPath(ref.Location, Info{Ref: ref.String()}))
	case ref.Registered() && o.options.Registry == nil:
		return nil, fmt.Errorf("open %s: no registry is configured: set MLFLOW_TRACKING_URI or give a path", ref)
	case ref.Registered():
		fetched, err := o.options.Registry.Fetch(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", ref, err)
		}
		return orNil(o.openPath(fetched.Dir, Info{Ref: ref.String(), Name: fetched.Name, Pin: fetched.Pin}))
	}
	return nil, fmt.Errorf("model reference of kind %q cannot be opened: use models:/NAME/STAGE, an http URL or a path", ref.Kind)
}

// orNil keeps a nil pointer from becoming a Scorer that is not nil.
func orNil[S Scorer](s S, err error) (Scorer, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openPath opens a model directory or a bare model file.
func (o *Opener) openPath(path string, info Info) (*native, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", info.Ref, err)
	}
	dir, file := path, ""
	if !stat.IsDir() {
		dir, file = filepath.Split(path)
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", info.Ref, err)
	}
	defer root.Close()
	n, err := o.openRoot(root, file, info)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", info.Ref, err)
	}
	return n, nil
}

// openRoot never leaves root, whatever an MLmodel or a link in it says.
func (o *Opener) openRoot(root *os.Root, file string, info Info) (*native, error) {
	if file != "" {
		return o.openBare(root, file, info)
	}
	text, err := o.readFile(root, model.MLmodelFile)
	if errors.Is(err, fs.ErrNotExist) {
		if file, err = onlyFile(root); err != nil {
			return nil, err
		}
		return o.openBare(root, file, info)
	}
	if err != nil {
		return nil, err
	}
	described, err := model.ParseMLmodel(text)
	if err != nil {
		return nil, err
	}
	return o.openDescribed(root, described, info)
}

// onlyFile finds the model file of a directory without an MLmodel. MLflow's client leaves a file of its own beside what it downloads.
func onlyFile(root *os.Root) (string, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != "registered_model_meta" && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("the folder has no MLmodel and %d files: give a folder that mlflow wrote, or one model file", len(names))
	}
	return names[0], nil
}

func (o *Opener) openBare(root *os.Root, file string, info Info) (*native, error) {
	m, err := o.parse(root, file)
	if err != nil {
		return nil, err
	}
	info.Notes = append(info.Notes, bareNote(m))
	return o.finish(m, nil, info)
}

func bareNote(m *forest.Model) string {
	if best, ok := m.BestIteration(); ok {
		return fmt.Sprintf("bare file: all trees (best_iteration %d in it is not applied)", best)
	}
	return "bare file: all trees"
}

// finish binds the columns: by the names in the model, else by those of the signature, else by position.
func (o *Opener) finish(m *forest.Model, signature []model.Column, info Info) (*native, error) {
	names := m.FeatureNames()
	if len(names) == 0 {
		if names = signatureNames(signature, m.NumFeature()); names != nil {
			info.Notes = append(info.Notes, "no column names in the model file: those of the MLmodel signature are used")
		} else {
			info.Notes = append(info.Notes, "no column names in the model file: columns are bound by position")
		}
	}
	return newNative(info, m, names)
}

// signatureNames gives the signature's names when it names every column of the model: MLflow puts the columns in that order before it calls the model.
func signatureNames(signature []model.Column, features int) []string {
	if len(signature) != features {
		return nil
	}
	names := make([]string, len(signature))
	for i, c := range signature {
		if c.Name == "" || slices.Contains(names[:i], c.Name) {
			return nil
		}
		names[i] = c.Name
	}
	return names
}

// parse reads a model file by its content.
func (o *Opener) parse(root *os.Root, file string) (*forest.Model, error) {
	data, err := o.readFile(root, file)
	if err != nil {
		return nil, err
	}
	if looksLikePickle(file, data) {
		return nil, fmt.Errorf("%s is a pickle, which Serin never loads: %s", file, ways)
	}
	m, err := xgboost.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// looksLikePickle recognizes a pickle of protocol 2 or later, or a zip of one as torch and joblib write it, for the sake of a better error.
func looksLikePickle(file string, data []byte) bool {
	switch filepath.Ext(file) {
	case ".pkl", ".pickle", ".joblib":
		return true
	}
	return len(data) > 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 || bytes.HasPrefix(data, []byte("PK\x03\x04"))
}

func (o *Opener) readFile(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	if stat.Size() > o.options.MaxModelBytes {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d", name, stat.Size(), o.options.MaxModelBytes)
	}
	var buf bytes.Buffer
	buf.Grow(int(stat.Size()) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(f, o.options.MaxModelBytes)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return buf.Bytes(), nil
}
