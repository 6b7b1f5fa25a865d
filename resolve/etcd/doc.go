// Package etcd finds servers in etcd: each key under a prefix is one, and a watch tells when that
// changes.
//
//	client, err := clientv3.New(clientv3.Config{
//		Endpoints:         []string{"etcd.example.org:2379"},
//		DialTimeout:       5 * time.Second,
//		DialKeepAliveTime: 10 * time.Second, // finds out soon that etcd's machine is gone
//	})
//	r, err := etcd.New(etcd.Config{Client: client, Prefix: "services/payments/"})
//	first, err := resolve.First(ctx, r)
//	b, err := engine.New(engine.Config{Addrs: resolve.Addrs(first)})
//	go resolve.Follow(ctx, r, b, resolve.FollowConfig{Have: first})
//
// # What a key holds
//
// The address is the part of the key behind the prefix, unless the value names another one. The
// value is one of these:
//
//	services/payments/10.0.0.1:9000  (nothing)                        weight 1, priority 0
//	services/payments/10.0.0.1:9000  3                                weight 3
//	services/payments/10.0.0.1:9000  {"weight": 3, "priority": 1}
//	services/payments/a              {"addr": "10.0.0.1:9000", "weight": 3}
//
// The last form is also what etcd's own package naming/endpoints writes; its Metadata may be an
// object with weight and priority, and is not looked at if it is anything else.
//
// Weight is from 0, which means 1, to balance.MaxWeight. Of several priorities only the servers of
// the lowest number are used, as of SRV records: the others are for when none of these is there.
// Two keys with the same address are one server, as the first key says.
//
// Have a server put its key with a lease that it keeps alive, and delete it when it stops: then the
// key of one that has died is gone when the lease ends. See the program in the folder example.
//
// # What happens when it goes wrong
//
// While etcd cannot be reached, and when there is no key, the servers stay as they are; both are
// told. A value that is wrong is told, too; its server stays as it was, and a new one is left out.
// The client connects again by itself; a watch that etcd ends, as it does when what it had to tell
// is compacted already, is followed by reading all keys again.
package etcd
