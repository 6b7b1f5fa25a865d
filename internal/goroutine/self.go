// Package goroutine tells goroutines apart.
//
// Go has no such thing on purpose: what belongs to a goroutine should be passed
// to it. It is needed here where a callback of ours calls back into us through
// the user's code, which has no way to hand on what we gave it. It must decide
// nothing but which of two correct paths is taken.
package goroutine

// ID names a goroutine among those that are alive; 0 names none. An ID is reused
// after its goroutine has ended, so code that keeps one must forget it before that.
type ID uintptr
