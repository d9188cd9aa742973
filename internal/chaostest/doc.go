// Package chaostest kills the real program while it works and holds what is left against the contract: nothing lost, nothing done twice. It has
// tests only, and must never reach into a process that it did not start.
package chaostest
