#!/usr/bin/env bash
# Runs every check and every test, those against real servers included. Needs Rust, and apt-get for the servers that
# are missing; asks nothing, stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

section() { printf '\n== %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Debian's packages start what they install, unless this policy says no; whatever policy there was comes back.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d
    local kept="$policy.before-slowburn-tests"
    if [ -e "$policy" ]; then as_root mv "$policy" "$kept"; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    local failed=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null || failed=$?
    as_root rm -f "$policy"
    if [ -e "$kept" ]; then as_root mv "$kept" "$policy"; fi
    return "$failed"
}

section "Real servers"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    echo "prometheus is here: $(promtool --version 2>&1 | head -n 1)"
else
    install_quietly prometheus || {
        as_root apt-get update -q
        install_quietly prometheus
    }
fi

if command -v victoria-metrics >/dev/null; then
    echo "victoria-metrics is here: $(victoria-metrics --version)"
else
    install_quietly victoria-metrics
fi

if command -v strace >/dev/null; then
    echo "strace is here: $(strace --version | head -n 1)"
else
    install_quietly strace
fi

if [ -x /lib/systemd/systemd ] && command -v nsenter >/dev/null; then
    echo "systemd is here: $(/lib/systemd/systemd --version | head -n 1)"
else
    install_quietly systemd util-linux
fi

if command -v prometheus-alertmanager >/dev/null && command -v amtool >/dev/null; then
    echo "alertmanager is here: $(prometheus-alertmanager --version 2>&1 | head -n 1)"
else
    install_quietly prometheus-alertmanager
fi

if [ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 ]; then
    echo "faketime is here"
else
    install_quietly faketime
fi

if command -v chromium >/dev/null; then
    echo "chromium is here: $(chromium --version 2>/dev/null)"
else
    install_quietly chromium
fi

if command -v openssl >/dev/null; then
    echo "openssl is here: $(openssl version)"
else
    install_quietly openssl
fi

# Into a folder of the build, where neither the system's packages nor anybody's own are touched.
python_packages=target/test-python
install_packages() {
    python3 -m pip --version >/dev/null 2>&1 || install_quietly python3-pip
    python3 -m pip install -q --disable-pip-version-check --target "$python_packages" "$@"
}

if PYTHONPATH="$python_packages" python3 -c 'import aiosmtpd, junitparser' 2>/dev/null; then
    echo "aiosmtpd and junitparser are here"
else
    install_packages 'aiosmtpd==1.4.6' 'junitparser==5.0.3'
fi

# Only the script in it is used: none of what the package needs.
if [ -e "$python_packages/axe_playwright_python/axe.min.js" ]; then
    echo "axe-core is here"
else
    install_packages --no-deps 'axe-playwright-python==0.1.8'
fi

section "Format"
cargo fmt --check

section "Lints"
cargo clippy --all-targets --locked -- -D warnings

section "Tests, those against real servers included"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --run-ignored all
else
    cargo test --locked --lib --bins --tests -- --include-ignored
fi

section "Examples in the documentation"
cargo test --locked --doc

section "All passed"
