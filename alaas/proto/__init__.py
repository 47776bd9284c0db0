"""The gRPC contract: `alaas/v1/*.proto` and the stubs made from it by `make proto`."""
