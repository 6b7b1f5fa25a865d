// Package resolve finds out where servers are, and follows them when they move.
//
//	dns, err := resolve.NewDNS(resolve.DNSConfig{Name: "payments.example.org:9000"})
//	first, err := resolve.First(ctx, dns) // ctx says how long to wait for an answer
//	b, err := engine.New(engine.Config{
//		Addrs:        resolve.Addrs(first),
//		OnDisconnect: func(string, error) { dns.Again() },
//	})
//	go resolve.Follow(ctx, dns, b, resolve.FollowConfig{Have: first})
//
// A [Resolver] says where the servers are, again and again: [Static] once, [DNS] by looking a name
// up. [Follow] has [Servers], a broker or an httppool's pool, add, reweigh and remove what differs.
//
// # What happens when it goes wrong
//
// The servers in use stay as they are while a lookup fails, and when its answer is empty: a name
// server that is down, or a slip in a zone, must not take a service down that works. Both are told,
// and the name is looked up sooner than usual. A server that cannot be added or removed does not
// hold up the others, and is tried again with the next answer.
package resolve
