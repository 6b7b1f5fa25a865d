package health_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/ringwire/ringwire/health"
)

// A server that cannot be reached three times in a row is down. It takes two successes to bring
// it back.
func ExampleServer_Report() {
	g, err := health.New(health.Config{SlowStart: -1})
	if err != nil {
		log.Fatal(err)
	}
	s, err := g.Add("10.0.0.1:9000", nil)
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		s.Report(health.Unreachable, time.Now(), errors.New("connection refused"))
	}
	fmt.Println(s.State(), s.Share())
	s.Report(health.Answered, time.Now(), nil)
	fmt.Println(s.State(), s.Share())
	s.Report(health.Answered, time.Now(), nil)
	fmt.Println(s.State(), s.Share())
	// Output:
	// down 0
	// down 0
	// up 100
}
