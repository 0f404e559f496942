// Package catalog is what is known about models without asking anybody: what
// they cost, how much they take, who makes them, which agents can use them, and
// what the automatic ids stand for. It calls nothing and links nothing.
//
// Prices are those of the day that each entry names (Price.AsOf), from the
// source that it names; an operator's or a team's own entries win over them
// (see [Prices.Merge]).
package catalog
