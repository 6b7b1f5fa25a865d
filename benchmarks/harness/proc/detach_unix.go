//go:build unix

package proc

import (
	"os/exec"
	"syscall"
)

// detach puts the child into a process group of its own. A Ctrl-C at the
// terminal goes to the whole foreground group; the child must live on until
// this process has finished what it was measuring.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
