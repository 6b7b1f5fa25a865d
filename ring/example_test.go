package ring_test

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/ringwire/ringwire/ring"
)

func ExampleSPSC() {
	r := ring.NewSPSC[string](3)
	for _, word := range []string{"one", "two", "three", "four", "five"} {
		fmt.Println(word, r.TryPush(word))
	}
	first, _ := r.TryPop()
	rest := make([]string, 8)
	n := r.PopInto(rest)
	fmt.Println(first, rest[:n], r.Len(), r.Cap())
	// Output:
	// one true
	// two true
	// three true
	// four true
	// five false
	// one [two three four] 0 4
}

// Four producers, and a consumer that takes what is there in batches. Which side waits,
// and how, is the caller's decision: here both sides yield.
func ExampleMPSC() {
	r := ring.NewMPSC[int](64)
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			for i := range 250 {
				for !r.TryPush(p*250 + i) {
					runtime.Gosched()
				}
			}
		})
	}
	sum, count := 0, 0
	batch := make([]int, 32)
	for count < 1000 {
		n := r.PopInto(batch)
		if n == 0 {
			runtime.Gosched()
		}
		for _, v := range batch[:n] {
			sum += v
		}
		count += n
	}
	producers.Wait()
	fmt.Println(count, sum, r.Empty(), r.Pushed())
	// Output: 1000 499500 true 1000
}

func ExampleCounter() {
	requests := ring.NewCounter()
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 100 {
				requests.Add(1)
			}
		})
	}
	workers.Wait()
	fmt.Println(requests.Load())
	// Output: 800
}
