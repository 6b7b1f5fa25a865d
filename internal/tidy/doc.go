// Package tidy holds the repository to its own rules. It contains tests only:
// imports point down the layers of docs/DESIGN.md, functions and files stay
// short, documents hold code that compiles, every
// dependency has a reason, and atomics are typed.
//
// Each check is a function from data to a list of problems, and has a second
// test that feeds it something wrong, so that a check that finds nothing is a
// check that looked.
package tidy
