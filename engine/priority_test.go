package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// One request at a time is in flight, so the others wait.
func TestRequestsThatWaitGoByTheirPriority(t *testing.T) {
	for name, call := range map[string]func(b *Broker, req string, o Call, done chan<- error){
		"Send": func(b *Broker, req string, o Call, done chan<- error) {
			go func() {
				_, err := b.Send(bg, []byte(req), o)
				done <- err
			}()
		},
		"SendBatch": func(b *Broker, req string, o Call, done chan<- error) {
			go func() { done <- b.SendBatch(bg, [][]byte{[]byte(req)}, func(int, []byte, error) {}, o) }()
		},
		"Go": func(b *Broker, req string, o Call, done chan<- error) {
			if err := b.Go(bg, []byte(req), func(_ []byte, err error) { done <- err }, o); err != nil {
				done <- err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{MaxInFlight: 1, WaitQueue: true, RequestTimeout: time.Hour, ReadTimeout: -1}
				if name == "Go" { // it does not wait for room, but does for a connection
					cfg.MaxInFlight = 0
				}
				s := newStage("one:1")
				cfg.Addrs, cfg.DialContext = []string{"one:1"}, s.dial
				b := bubbleBroker(t, cfg)
				synctest.Wait()
				if name == "Go" {
					requireServed(t, b, 1)
					s["one:1"].leave()
					s["one:1"].forget()
				} else {
					go b.Send(bg, []byte("in 1m"))
					synctest.Wait()
				}
				done := make(chan error, 12)
				for i, priority := range []int{0, -1, 2, 1, 0, -1, 2, 1, 0, -1, 2, 1} {
					call(b, fmt.Sprint(priority, " ", i), Call{Priority: priority, Timeout: time.Hour}, done)
					synctest.Wait()
				}
				s["one:1"].behave(answers)
				for range cap(done) {
					require.NoError(t, <-done)
				}
				got := s["one:1"].asked()
				require.Equal(t, []string{"2 2", "2 6", "2 10", "1 3", "1 7", "1 11", "0 0", "0 4"}, got[len(got)-12:][:8])
				require.Equal(t, []string{"0 8", "-1 1", "-1 5", "-1 9"}, sortedTail(got))
			})
		})
	}
}

// sortedTail returns the last four, of which the ninth may be the low lane's that was passed
// over eight times.
func sortedTail(got []string) []string {
	tail := got[len(got)-4:]
	if tail[1] == "0 8" {
		return []string{tail[1], tail[0], tail[2], tail[3]}
	}
	return tail
}
