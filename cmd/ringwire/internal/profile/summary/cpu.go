package summary

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

// functionsMax bounds how many functions are kept. A profile of some hundred
// samples has fewer with any.
const functionsMax = 400

// count adds up the samples of a CPU profile, whose first value is their number.
func (c *CPU) count(stacks []stack.Stack) {
	functions := make(map[string]*Function)
	cells := make(map[[2]string]int64)
	for _, s := range stacks {
		n := s.Values[0]
		if s.Role == stack.RoleProfiler {
			c.Profiler += n
			continue
		}
		c.Samples += n
		cells[[2]string{s.Role, stack.Group(s.Frames)}] += n
		seen := make(map[string]bool, len(s.Frames))
		for i, frame := range s.Frames {
			name := stack.Short(frame)
			f := functions[name]
			if f == nil {
				f = &Function{Name: name, Owner: stack.OwnerOf(frame)}
				functions[name] = f
			}
			if i == 0 {
				f.Flat += n
			}
			if !seen[name] { // a recursive function once
				seen[name] = true
				f.Cum += n
			}
		}
	}
	for _, f := range functions {
		c.Functions = append(c.Functions, *f)
	}
	slices.SortFunc(c.Functions, func(a, b Function) int {
		return cmp.Or(cmp.Compare(b.Flat, a.Flat), cmp.Compare(b.Cum, a.Cum), strings.Compare(a.Name, b.Name))
	})
	c.Functions = c.Functions[:min(len(c.Functions), functionsMax)]
	for key, n := range cells {
		c.Cells = append(c.Cells, Cell{key[0], key[1], n})
	}
	slices.SortFunc(c.Cells, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), strings.Compare(a.Role, b.Role), strings.Compare(a.Group, b.Group))
	})
}

// Roles are the sums of the cells by role, the largest first.
func (c *CPU) Roles() []Share { return sums(c.Cells, func(cell Cell) string { return cell.Role }) }

// Groups are the sums of the cells by group, the largest first.
func (c *CPU) Groups() []Share { return sums(c.Cells, func(cell Cell) string { return cell.Group }) }

// Share is a part of the samples.
type Share struct {
	Name    string
	Samples int64
}

func sums(cells []Cell, key func(Cell) string) []Share {
	byName := make(map[string]int64)
	for _, cell := range cells {
		byName[key(cell)] += cell.Samples
	}
	shares := make([]Share, 0, len(byName))
	for name, n := range byName {
		shares = append(shares, Share{name, n})
	}
	slices.SortFunc(shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), strings.Compare(a.Name, b.Name))
	})
	return shares
}

// cell is the samples of a role in a group.
func (c *CPU) cell(role, group string) int64 {
	for _, cell := range c.Cells {
		if cell.Role == role && cell.Group == group {
			return cell.Samples
		}
	}
	return 0
}
