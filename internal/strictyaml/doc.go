// Package strictyaml reads YAML whose every fault has a line and a column: unknown and duplicate keys, wrong types, missing units.
// It never does I/O, never expands an alias into memory and never takes a value for something that it is not.
package strictyaml
