package registry

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"serin/internal/store"
)

type searchIn struct {
	Filter     text   `json:"filter"`
	MaxResults text   `json:"max_results"`
	OrderBy    []text `json:"order_by"`
	PageToken  text   `json:"page_token"`
}

// page is a slice of the results.
type page struct{ offset, size int }

// pageToken is opaque to clients; MLflow's looks the same.
type pageToken struct {
	Offset int `json:"offset"`
}

func (in searchIn) page(standard, most int) (page, error) {
	p := page{size: standard}
	if in.MaxResults != "" {
		n, err := strconv.Atoi(string(in.MaxResults))
		if err != nil || n < 1 || n > most {
			return p, invalid("Invalid value for request parameter max_results. It must be at most %d, but got value %s", most, in.MaxResults)
		}
		p.size = n
	}
	if in.PageToken != "" {
		var t pageToken
		text, err := base64.StdEncoding.DecodeString(string(in.PageToken))
		if err == nil {
			err = json.Unmarshal(text, &t)
		}
		if err != nil || t.Offset < 0 {
			return p, invalid("Invalid page token: it must be one that a search answered")
		}
		p.offset = t.Offset
	}
	return p, nil
}

// cut gives the page of all and the token of the next one, empty at the end.
func cut[T any](all []T, p page) (part []T, next string) {
	from := min(p.offset, len(all))
	to := from + min(p.size, len(all)-from)
	if to < len(all) {
		text, _ := json.Marshal(pageToken{Offset: to}) // a struct of one int
		next = base64.StdEncoding.EncodeToString(text)
	}
	return all[from:to], next
}

// order is one part of order_by.
type order struct {
	key  string
	desc bool
}

func parseOrder(list []text, keys ...string) ([]order, error) {
	var orders []order
	for _, part := range list {
		fields := strings.Fields(string(part))
		if len(fields) == 0 || len(fields) > 2 {
			return nil, invalid("Invalid order_by clause '%s'", part)
		}
		o := order{key: strings.Trim(strings.TrimPrefix(fields[0], "attribute."), "`")}
		if o.key == "timestamp" {
			o.key = "last_updated_timestamp"
		}
		if len(fields) == 2 {
			switch strings.ToUpper(fields[1]) {
			case "ASC":
			case "DESC":
				o.desc = true
			default:
				return nil, invalid("Invalid order_by clause '%s': the order is ASC or DESC", part)
			}
		}
		if !slices.Contains(keys, o.key) {
			return nil, invalid("Invalid order_by key '%s' specified. Valid keys are %s", o.key, strings.Join(keys, ", "))
		}
		if slices.ContainsFunc(orders, func(have order) bool { return have.key == o.key }) {
			return nil, invalid("`order_by` contains duplicate fields: %s", o.key)
		}
		orders = append(orders, o)
	}
	return orders, nil
}

// sortBy sorts by the orders in turn; value compares one key of two objects.
func sortBy[T any](all []T, orders []order, compare func(key string, a, b T) int) {
	slices.SortStableFunc(all, func(a, b T) int {
		for _, o := range orders {
			c := compare(o.key, a, b)
			if o.desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
}

func (s *Server) searchModels(ctx context.Context, _ string, in searchIn) (any, error) {
	f, err := parseFilter(string(in.Filter), modelAttributes)
	if err != nil {
		return nil, err
	}
	orders, err := parseOrder(in.OrderBy, "name", "creation_timestamp", "last_updated_timestamp")
	if err != nil {
		return nil, err
	}
	p, err := in.page(100, 1000)
	if err != nil {
		return nil, err
	}
	var out struct {
		Models []modelOut `json:"registered_models,omitempty"`
		Next   string     `json:"next_page_token,omitempty"`
	}
	err = s.opts.Store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.RegisteredModels(ctx)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(m store.RegisteredModel) bool { return !f.matches(searchedModel(m), modelAttributes) })
		sortBy(all, append(orders, order{key: "name"}), compareModels)
		part, next := cut(all, p)
		out.Next = next
		for _, m := range part {
			versions, err := tx.ModelVersions(ctx, m.Name)
			if err != nil {
				return err
			}
			out.Models = append(out.Models, outModel(m, versions))
		}
		return nil
	})
	return out, err
}

func compareModels(key string, a, b store.RegisteredModel) int {
	switch key {
	case "creation_timestamp":
		return a.CreatedAt.Compare(b.CreatedAt)
	case "last_updated_timestamp":
		return a.UpdatedAt.Compare(b.UpdatedAt)
	}
	return cmp.Compare(a.Name, b.Name)
}

func (s *Server) searchVersions(ctx context.Context, _ string, in searchIn) (any, error) {
	f, err := parseFilter(string(in.Filter), versionAttributes)
	if err != nil {
		return nil, err
	}
	orders, err := parseOrder(in.OrderBy, "name", "version_number", "creation_timestamp", "last_updated_timestamp")
	if err != nil {
		return nil, err
	}
	if len(orders) == 0 {
		orders = []order{{key: "last_updated_timestamp", desc: true}}
	}
	p, err := in.page(10_000, 200_000)
	if err != nil {
		return nil, err
	}
	var out struct {
		Versions []versionOut `json:"model_versions,omitempty"`
		Next     string       `json:"next_page_token,omitempty"`
	}
	err = s.opts.Store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.ModelVersions(ctx, f.name())
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(v store.ModelVersion) bool { return !f.matches(searchedVersion(v), versionAttributes) })
		sortBy(all, append(orders, order{key: "name"}, order{key: "version_number", desc: true}), compareVersions)
		part, next := cut(all, p)
		out.Next = next
		for _, v := range part {
			out.Versions = append(out.Versions, outVersion(v))
		}
		return nil
	})
	return out, err
}

// name is the one model that can match, when the filter says so, so that not every version of every model is read.
func (f filter) name() string {
	for _, c := range f {
		if !c.tag && c.key == "name" && c.op == "=" {
			return c.values[0]
		}
	}
	return ""
}

func compareVersions(key string, a, b store.ModelVersion) int {
	switch key {
	case "version_number":
		return cmp.Compare(a.Version, b.Version)
	case "creation_timestamp":
		return a.CreatedAt.Compare(b.CreatedAt)
	case "last_updated_timestamp":
		return a.UpdatedAt.Compare(b.UpdatedAt)
	}
	return cmp.Compare(a.Name, b.Name)
}
