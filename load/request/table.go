package request

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Table holds the rows of a CSV file, whose first one names the columns.
type Table struct {
	Order Order
	Seed  uint64 // of Random

	columns []string
	rows    [][]string
}

// NewTable reads a table. Rows have as many fields as there are columns.
func NewTable(data []byte, order Order, seed uint64) (*Table, error) {
	if err := order.validate(); err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	switch {
	case err != nil:
		return nil, hideField(err)
	case len(rows) < 2:
		return nil, errors.New("must have a row of column names and one of data at least")
	}
	return &Table{Order: order, Seed: seed, columns: rows[0], rows: rows[1:]}, nil
}

// hideField keeps the place of a syntax error. Its text never quotes fields, but this does
// not rest on that: they may be card numbers.
func hideField(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d, column %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return errors.New("not a CSV file")
}

func (t *Table) column(name string) (int, error) {
	i := slices.Index(t.columns, name)
	if i < 0 {
		return 0, fmt.Errorf("no column %q: must be one of %s", clip(name), strings.Join(t.columns, ", "))
	}
	return i, nil
}

func (t *Table) sizes(column int) (least, most int) {
	least = SizeMax
	for _, row := range t.rows {
		least, most = min(least, len(row[column])), max(most, len(row[column]))
	}
	return least, most
}
