//go:build !linux

package main

import (
	"errors"
	"runtime"
)

func diskOf(string) (free, total uint64, err error) {
	return 0, 0, errors.New("is not measured on " + runtime.GOOS)
}

func probed() bool { return false }

// kernel says that this system cannot run agents.
func (d *doctor) kernel() {
	d.add("kernel", stateFail, runtime.GOOS+": workers need Linux", "run it on Linux, or in a virtual machine with it")
}
