# `just verify` never writes; `just fix` does.

default:
    @just --list

# What CI runs.
verify:
    bash .ci/run

# The league with real orders, its figures and its invariants.
demo:
    cargo run --release -- demo

test:
    cargo test --workspace

tidy:
    cargo xtask tidy

fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
