package server

import (
	"context"
	"testing"
	"time"
)

// A context that a handler asks for when its connection was cut already has ended: the loop
// cannot say so while the handler waits for it.
func TestContextAskedForTooLateHasEnded(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	s := launch(t, Config{ShutdownTimeout: 20 * time.Millisecond, Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
		close(inside)
		<-release
		select {
		case <-c.Context().Done():
		case <-time.After(patienceMax):
			t.Error("the context has not ended")
		}
		return dst, nil
	})})
	dial(t, s).send(1, nil)
	<-inside
	conn, down := only(s), make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	waitFor(t, "the cut", conn.cutting.Load)
	close(release)
	<-down
}
