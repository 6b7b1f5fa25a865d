package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCostsAreQuartilesOfTheRoundsOwnRatios(t *testing.T) {
	low, mid, high := costs([]float64{100, 200, 100, 100, 100}, []float64{90, 160, 100, 70, 110})
	assert.InDelta(t, 0, low, 1e-9)
	assert.InDelta(t, 10, mid, 1e-9)
	assert.InDelta(t, 20, high, 1e-9)
	low, mid, high = costs([]float64{100}, []float64{97})
	assert.InDelta(t, 9, low+mid+high, 1e-9)
}
