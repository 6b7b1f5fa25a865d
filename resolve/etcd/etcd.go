package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/resolve"
)

// The defaults of Config.
const (
	DefaultTimeout  = 5 * time.Second
	DefaultInterval = time.Minute
)

// MaxKeys is how many keys are read. More are told, and left out.
const MaxKeys = 4 * resolve.MaxEndpoints

// MaxPause is the longest pause after a failure.
const MaxPause = 30 * time.Second

// Config says where the servers stand. The zero value of each field but Client and Prefix is its
// default. New copies it.
type Config struct {
	// Client is the connection to etcd. It stays the caller's; the caller closes it after the last
	// Watch. Set DialKeepAliveTime in its configuration: without it a machine that is gone is
	// noticed only after Interval.
	Client *clientv3.Client
	// Prefix is what the keys of the servers begin with. A / is appended if it does not end in one, so
	// that services/pay does not match services/payments/….
	Prefix string
	// Timeout bounds one reading of all keys. Default 5 s.
	Timeout time.Duration
	// Interval is how often all keys are read again, a fifth more or less at random, although etcd
	// tells of changes: whatever has been missed is found then. After failures in a row pauses
	// double from 1 s up to MaxPause, or Interval if that is shorter, each at random from 0 up.
	// Default 1 min.
	Interval time.Duration
}

// Resolver is a resolve.Resolver. Make it with New. Its methods may be called by any number of
// goroutines.
type Resolver struct {
	cfg Config
}

// New returns a Resolver. It asks for nothing yet.
func New(cfg Config) (*Resolver, error) {
	defaults.Set(&cfg.Timeout, DefaultTimeout)
	defaults.Set(&cfg.Interval, DefaultInterval)
	switch {
	case cfg.Client == nil:
		return nil, errors.New("etcd: Config.Client is nil; make one with clientv3.New")
	case strings.Trim(cfg.Prefix, "/") == "":
		return nil, fmt.Errorf("etcd: Config.Prefix is %q; it must name where the servers stand, such as services/payments/", cfg.Prefix)
	case cfg.Timeout < 0 || cfg.Timeout > defaults.MaxTimeout:
		return nil, fmt.Errorf("etcd: Config.Timeout is %v; it must be positive and at most %v", cfg.Timeout, defaults.MaxTimeout)
	case cfg.Interval < 0 || cfg.Interval > defaults.MaxTimeout:
		return nil, fmt.Errorf("etcd: Config.Interval is %v; it must be positive and at most %v", cfg.Interval, defaults.MaxTimeout)
	}
	if !strings.HasSuffix(cfg.Prefix, "/") {
		cfg.Prefix += "/"
	}
	return &Resolver{cfg: cfg}, nil
}

// Watch yields the servers, and again whenever a key changes. It asks and waits on the caller's
// goroutine.
func (r *Resolver) Watch(ctx context.Context) iter.Seq2[[]resolve.Endpoint, error] {
	return func(yield func([]resolve.Endpoint, error) bool) {
		w := watching{Resolver: r, yield: yield, known: make(map[string]server)}
		for failures := 0; w.pause(ctx, failures); {
			err := w.round(ctx)
			if w.over || ctx.Err() != nil {
				return
			}
			if err == nil {
				failures = 0
				continue
			}
			failures++
			if !yield(nil, fmt.Errorf("etcd: %s: %w", r.cfg.Prefix, err)) {
				return
			}
		}
	}
}

// watching is a Watch at work.
type watching struct {
	*Resolver
	yield func([]resolve.Endpoint, error) bool
	over  bool              // nobody wants more
	known map[string]server // by key; what etcd has, and of wrong values what was there before
}

// pause waits after failures in a row. It reports whether to go on.
func (w *watching) pause(ctx context.Context, failures int) bool {
	// Full jitter: all clients of an etcd lose it at once.
	pauses := backoff.Policy{Min: min(time.Second, w.cfg.Interval), Max: min(MaxPause, w.cfg.Interval)}
	timer := time.NewTimer(pauses.Delay(failures))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// round reads all keys and follows what changes, for Interval at most, which bounds each wait in
// it. Its error is nil if nothing is wrong and another round is due.
func (w *watching) round(ctx context.Context) error {
	interval := w.cfg.Interval*4/5 + rand.N(w.cfg.Interval*2/5+1)
	// A member without a leader ends the watch instead of saying nothing.
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), interval)
	defer cancel()
	revision, err := w.read(ctx)
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	if w.over {
		return nil
	}
	changes := w.cfg.Client.Watch(ctx, w.cfg.Prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for change := range changes {
		if change.CompactRevision > 0 {
			return nil // what it had to tell is forgotten: all keys are read again
		}
		if err := change.Err(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch the keys: %w", err)
		}
		if len(change.Events) > 0 && !w.take(change.Events) {
			return nil
		}
	}
	if ctx.Err() == nil {
		return errors.New("watch the keys: the watch has ended")
	}
	return nil
}

// read reads all keys, and yields them. It returns the revision at which they were read.
func (w *watching) read(ctx context.Context) (revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	answer, err := w.cfg.Client.Get(ctx, w.cfg.Prefix, clientv3.WithPrefix(), clientv3.WithLimit(MaxKeys))
	if err != nil {
		return 0, err
	}
	before := w.known
	w.known = make(map[string]server, len(answer.Kvs))
	var wrong []error
	for _, kv := range answer.Kvs {
		key := string(kv.Key)
		if s, known := before[key]; known {
			w.known[key] = s
		}
		wrong = w.put(key, kv.Value, wrong)
	}
	if answer.More {
		wrong = append(wrong, fmt.Errorf("%d keys are too many; the first %d are used", answer.Count, MaxKeys))
	}
	w.tell(wrong)
	return answer.Header.Revision, nil
}

// take yields what the keys are after some changes. It reports whether to go on.
func (w *watching) take(events []*clientv3.Event) bool {
	var wrong []error
	for _, e := range events {
		if e.Type == clientv3.EventTypeDelete {
			delete(w.known, string(e.Kv.Key))
			continue
		}
		wrong = w.put(string(e.Kv.Key), e.Kv.Value, wrong)
	}
	return w.tell(wrong)
}

// put takes the value of a key.
func (w *watching) put(key string, value []byte, wrong []error) []error {
	s, err := parse(strings.TrimPrefix(key, w.cfg.Prefix), value)
	if err == nil && len(w.known) >= MaxKeys {
		if _, known := w.known[key]; !known {
			err = fmt.Errorf("it is left out: there are %d keys", MaxKeys)
		}
	}
	if err == nil {
		w.known[key] = s
		return wrong
	}
	if len(wrong) < wrongTold {
		wrong = append(wrong, fmt.Errorf("key %q: %w", key, err))
	}
	return wrong
}

// wrongTold is how many keys that are wrong are told at once.
const wrongTold = 8

// tell yields the servers, and what is wrong. It reports whether to go on.
func (w *watching) tell(wrong []error) bool {
	set := servers(w.known)
	if len(set) == 0 {
		wrong = append(wrong, resolve.ErrEmpty)
	}
	w.over = len(set) > 0 && !w.yield(set, nil) ||
		len(wrong) > 0 && !w.yield(nil, fmt.Errorf("etcd: %s: %w", w.cfg.Prefix, errors.Join(wrong...)))
	return !w.over
}

// servers returns those of the lowest priority, by address.
func servers(known map[string]server) []resolve.Endpoint {
	var all []server
	for _, key := range slices.Sorted(maps.Keys(known)) {
		all = append(all, known[key])
	}
	slices.SortStableFunc(all, func(a, b server) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.addr, b.addr))
	})
	var set []resolve.Endpoint
	for i, s := range all {
		if s.priority != all[0].priority {
			break
		}
		if i == 0 || s.addr != all[i-1].addr {
			set = append(set, resolve.Endpoint{Addr: s.addr, Weight: s.weight})
		}
	}
	return set
}
