package etcd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ringwire/ringwire/balance"
)

// server is what a key says.
type server struct {
	addr     string
	weight   int
	priority int // the lowest number comes first
}

// value is a server in JSON. Names are the same in capitals, so it is also what etcd's
// naming/endpoints writes.
type value struct {
	Addr     string
	Weight   int
	Priority int
	Metadata json.RawMessage
}

// parse returns the server of a key. name is the key behind the prefix. What is in the value is not
// told in errors.
func parse(name string, data []byte) (server, error) {
	v := value{}
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
	case data[0] == '{':
		if err := json.Unmarshal(data, &v); err != nil {
			return server{}, fmt.Errorf("its value is no object with addr, weight and priority: %w", kindOf(err))
		}
		var more struct{ Weight, Priority int }
		if json.Unmarshal(v.Metadata, &more) == nil {
			v.Weight, v.Priority = orElse(v.Weight, more.Weight), orElse(v.Priority, more.Priority)
		}
	default:
		weight, err := strconv.Atoi(string(data))
		if err != nil {
			return server{}, errors.New("its value must be empty, a weight, or an object with addr, weight and priority")
		}
		v.Weight = weight
	}
	if v.Weight < 0 || v.Weight > balance.MaxWeight {
		return server{}, fmt.Errorf("its weight is %d; it must lie in 1 to %d, or be 0 for 1", v.Weight, balance.MaxWeight)
	}
	if v.Addr == "" {
		v.Addr = name
	}
	if v.Addr == "" {
		return server{}, errors.New("it names no address, neither behind the prefix nor in its value")
	}
	return server{addr: v.Addr, weight: max(v.Weight, 1), priority: v.Priority}, nil
}

func orElse(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

// kindOf returns what is wrong with a JSON text, without any of it.
func kindOf(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s is no %s", kind.Field, kind.Type)
	}
	return errors.New("its syntax is wrong")
}
