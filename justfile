# What there is to do, by https://just.systems; each line is a command that can be given by hand.

# All that CI runs.
ci:
    bash .ci/run

# Quick answers while one works.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo test --workspace

# Each figure beside the best bare loop, in one run.
bench *ways:
    cargo bench {{ways}}

# Fuzz each target for so many seconds.
fuzz seconds="60":
    bash .ci/fuzz {{seconds}}

# Builds that leave out what a guarantee rests on, each of which must be caught.
mutants:
    bash .ci/mutants

# Oldest compiler and dependencies, the package, licenses, the public API.
upkeep:
    bash .ci/upkeep

# After a change of the public API that is meant.
bless:
    bash .ci/upkeep --bless
