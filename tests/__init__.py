"""Small true things instead of mocks; mirrors the packages."""
