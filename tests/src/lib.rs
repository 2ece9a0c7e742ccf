//! End-to-end tests of Assay live in `e2e/`; fixtures shared by all crates in `fixtures/`. This library is empty on purpose.
