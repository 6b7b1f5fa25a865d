package peer

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end the child when this process dies without
// stopping it. The signal comes when the thread that started the child ends, so
// the caller must be on a goroutine that keeps its thread.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
