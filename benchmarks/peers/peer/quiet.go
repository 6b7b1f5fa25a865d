package peer

import (
	"io"
	"sync"

	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/lesismal/arpc/log"
	rpcxlog "github.com/smallnest/rpcx/log"
)

// quiet switches off the loggers that some systems have for the whole process.
// It is called before a system is used, and acts once: they may not be changed
// while they are used.
var quiet = sync.OnceFunc(func() {
	log.SetLevel(log.LevelNone)
	klog.SetOutput(io.Discard)
	rpcxlog.SetDummyLogger()
})
