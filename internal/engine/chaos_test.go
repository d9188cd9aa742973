package engine

func child() bool { return false }
