// Package health judges servers by what calls and probes meet there.
//
//	g, err := health.New(health.Config{OnChange: reroute})
//	s, err := g.Add("10.0.0.1:9000", health.Connect("tcp", "10.0.0.1:9000"))
//	go g.Run(ctx) // probes, and does what time does
//
//	began := time.Now()
//	err = call(ctx, s)
//	s.Report(outcomeOf(err), began, err)
//
// Each server has one judge, its [Server]. Outcomes come in by Report, from calls (passive) and
// from probes (active), and what follows is its [State] and Share: whether, and how much, it takes
// part. OnChange tells when one of them has changed. The package moves no request and closes no
// connection.
//
// # States
//
//	          ┌──────────── not reached, UnhealthyThreshold in a row ───────────┐
//	          │                                                                 ▼
//	┌────┐ SlowStart over ┌────────┐   reached, HealthyThreshold in a row   ┌──────┐
//	│ Up │◀───────────────│ Rising │◀───────────────────────────────────────│ Down │
//	└────┘                └────────┘                                        └──────┘
//	  │ calls fail,          │    ▲                                          │   ▲
//	  │ EjectionThreshold    │    │ calls answered,      no probe: the pause │   │ not
//	  │ in a row             │    │ HealthyThreshold     is over             │   │ reached
//	  ▼                      ▼    │ in a row                                 ▼   │
//	┌─────────┐  its time is over └──────────────────────────────────────┌───────┐
//	│ Ejected │─────────────────────────────────────────────────────────▶│ Trial │
//	└─────────┘◀─────────────────── a call fails ────────────────────────└───────┘
//
// Up and Rising servers take calls, a Rising one a share that grows from a tenth. A server on
// Trial takes one call at a time: see [Server.Try]. Down and Ejected ones take none.
//
// A server that cannot be reached, or fails its probes, is Down, be they all. One that can be
// reached but whose calls fail is Ejected: for EjectionTime, and twice as long each time until it
// has stayed up for as long as it was last out. No more than half of the servers that are not
// Down are Ejected or on Trial, so never the last one. With Config.OnlyConnected, those without a
// connection are left out of this count. The longest ejection ends when the half shrinks below
// it, because another server went Down, was removed or has lost its connection.
//
// # What counts
//
// Outcomes in a row. What began before the state did is no news, save while the server is Up, and
// save connections that are lost while it is Rising. That
// a connection ended may be told by many calls: of those that began before the last one that
// counted none counts. A caller who gave up early proves nothing; [Late] only has the server
// probed now.
package health
