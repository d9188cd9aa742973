package xgboost

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

// width returns the bytes of a UBJSON number of a type, 0 when the marker is no number type.
func width(marker byte) int {
	switch marker {
	case 'i', 'U':
		return 1
	case 'I':
		return 2
	case 'l', 'd':
		return 4
	case 'L', 'D':
		return 8
	}
	return 0
}

// element splits the first number off an array that its reader has checked.
func element(encoding byte, rest []byte) (first, next []byte) {
	if encoding != decimal {
		w := width(encoding)
		return rest[:w], rest[w:]
	}
	first, next, _ = bytes.Cut(rest, []byte(","))
	return bytes.Trim(first, " \t\r\n"), next
}

// integer decodes a whole number or a boolean.
func integer(encoding byte, raw []byte) (int64, bool) {
	switch encoding {
	case decimal:
		switch string(raw) {
		case "true":
			return 1, true
		case "false":
			return 0, true
		}
		n, err := strconv.ParseInt(string(raw), 10, 64)
		return n, err == nil
	case 'i':
		return int64(int8(raw[0])), true
	case 'U', 'T': // T is a boolean, read as 0 or 1
		return int64(raw[0]), true
	case 'I':
		return int64(int16(binary.BigEndian.Uint16(raw))), true
	case 'l':
		return int64(int32(binary.BigEndian.Uint32(raw))), true
	case 'L':
		return int64(binary.BigEndian.Uint64(raw)), true
	}
	return 0, false
}

// parseFloat reads a number as XGBoost writes it: JSON's syntax, and bare NaN and
// Infinity. It parses straight to float32; a value beyond it is an error.
func parseFloat(raw []byte) (float32, bool) {
	switch string(raw) {
	case "NaN":
		return float32(math.NaN()), true
	case "Infinity":
		return float32(math.Inf(1)), true
	case "-Infinity":
		return float32(math.Inf(-1)), true
	}
	if !decimalNumber(raw) {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 32)
	return float32(f), err == nil
}

// decimalNumber reports JSON's number syntax, so that what ParseFloat takes
// beyond it (hexadecimal, underscores, "inf") is refused. XGBoost itself may
// write a leading zero in an exponent, which JSON allows too.
func decimalNumber(raw []byte) bool {
	rest := bytes.TrimPrefix(raw, []byte("-"))
	whole, rest := digits(rest)
	if whole == 0 {
		return false
	}
	if len(rest) > 0 && rest[0] == '.' {
		var n int
		if n, rest = digits(rest[1:]); n == 0 {
			return false
		}
	}
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		var n int
		if n, rest = digits(rest); n == 0 {
			return false
		}
	}
	return len(rest) == 0
}

// digits counts leading decimal digits and returns what follows them.
func digits(b []byte) (int, []byte) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n, b[n:]
}
