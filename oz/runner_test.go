package oz_test

func runnerMain(string) int { return 0 }
