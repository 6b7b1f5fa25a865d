package balance_test

import (
	"fmt"
	"log"

	"github.com/ringwire/ringwire/balance"
)

// Weights are exact in each round, wherever it begins.
func ExampleBalancer_Pick() {
	b, err := balance.New[string](balance.WeightedRound)
	if err != nil {
		log.Fatal(err)
	}
	err = b.Replace([]balance.Member[string]{
		{Name: "10.0.0.1:9000", Server: "large", Weight: 3},
		{Name: "10.0.0.2:9000", Server: "small", Weight: 1},
	})
	if err != nil {
		log.Fatal(err)
	}
	picks := make(map[string]int)
	for range 8 {
		server, err := b.Pick(0, nil)
		if err != nil {
			log.Fatal(err)
		}
		picks[server]++
	}
	fmt.Println(picks)
	// Output: map[large:6 small:2]
}
