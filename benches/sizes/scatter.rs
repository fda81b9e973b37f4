//! An order in which neighbours are far apart.

/// The numbers below `count`, each once, such that neither the first nor the last of those left is
/// often the next: an order that shows what is searched linearly, from either end.
pub(crate) fn scattered(count: usize) -> impl Iterator<Item = usize> {
    // A step of about 0.6 of the count, without a common divisor, meets every number once.
    let mut steps = (count * 5 / 8).max(1)..=count;
    let step = steps.find(|&step| gcd(step, count) == 1);
    let step = step.expect("every count but 0 has a coprime step");
    (0..count).map(move |turn| turn * step % count)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
