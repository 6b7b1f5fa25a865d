package balance

import (
	"fmt"
	"strings"
)

// Strategy is how a server is chosen. The zero value is RoundRobin. See the package's text.
type Strategy string

// The strategies, and how they are written in configurations.
const (
	RoundRobin    Strategy = "round_robin"
	LeastConn     Strategy = "least_conn"
	TwoChoices    Strategy = "two_choices"
	WeightedRound Strategy = "weighted_round"
	Random        Strategy = "random"
	IPHash        Strategy = "ip_hash"
)

// Strategies lists them all.
func Strategies() []Strategy {
	return []Strategy{RoundRobin, LeastConn, TwoChoices, WeightedRound, Random, IPHash}
}

// ParseStrategy returns the strategy that text names, RoundRobin if it is empty.
func ParseStrategy(text string) (Strategy, error) {
	if text == "" {
		return RoundRobin, nil
	}
	var names []string
	for _, s := range Strategies() {
		if string(s) == text {
			return s, nil
		}
		names = append(names, string(s))
	}
	return "", fmt.Errorf("balance: strategy %q is unknown; take one of %s", text, strings.Join(names, ", "))
}

// traits is what a strategy means to the code.
type traits struct {
	way    way
	weighs bool // a server's weight counts
	loads  bool // its load counts
}

// way is how a set is asked.
type way uint8

const (
	inTurn way = iota
	byLoad
	ofTwo
	byLot
	byKey
)

func (s Strategy) traits() traits {
	switch s {
	case LeastConn:
		return traits{way: byLoad, weighs: true, loads: true}
	case TwoChoices:
		return traits{way: ofTwo, weighs: true, loads: true}
	case WeightedRound:
		return traits{weighs: true}
	case Random:
		return traits{way: byLot}
	case IPHash:
		return traits{way: byKey, weighs: true}
	}
	return traits{}
}
