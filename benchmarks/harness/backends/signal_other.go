//go:build !unix

package backends

import "errors"

func freeze(int) error { return errors.New("backends: no SIGSTOP on this platform") }
func thaw(int) error   { return errors.New("backends: no SIGCONT on this platform") }
