// Package balance chooses one of several servers for each request.
//
//	b, err := balance.New[*backend](balance.LeastConn)
//	err = b.Replace([]balance.Member[*backend]{
//		{Name: "10.0.0.1:9000", Server: first, Load: &first.load},
//		{Name: "10.0.0.2:9000", Server: second, Load: &second.load, Weight: 3},
//	})
//	s, err := b.Pick(balance.KeyOf(client), nil)
//	s.load.Begin()
//	// make the request
//	s.load.End()
//
// It knows nothing of connections and of health. The caller, which does, says by Replace which
// servers there are now, which of them are down, and what part of its share one takes that has just
// come back. Replace makes a new set, which never changes, and puts it in place of the old one;
// Pick reads the set that is there. So Pick takes no lock, waits for nobody and allocates nothing,
// and a set is always whole.
//
// # Strategies
//
//   - [RoundRobin]: each in turn, whatever its weight.
//   - [LeastConn]: the one with the fewest requests in flight for its weight. Those that have
//     equally few take turns, by weight. It looks at each server: beyond some dozens
//     take TwoChoices.
//   - [TwoChoices]: of two drawn at random the one with fewer requests in flight for its
//     weight. Nearly as even as LeastConn, at the same cost for any number of servers.
//   - [WeightedRound]: each as often as its weight says, spread evenly. With weights 3 and 1,
//     any 4 picks in a row hold the first 3 times and the second once.
//   - [Random]: each with the same probability, whatever its weight.
//   - [IPHash]: the server is found by the key, the same in every process. When a server goes
//     only its keys move; to one that comes, or whose weight grows, keys move only from the
//     others. Picks without a key take turns. It is rendezvous hashing of 16,384 slots, each
//     looked up once in a set; keys share them.
package balance
