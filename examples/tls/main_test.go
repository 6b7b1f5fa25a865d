package main

func Example() {
	main()
	// Output:
	// good morning, till 7
	// good morning, till 7
}
