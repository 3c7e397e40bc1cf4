//! Random regular expressions: most of them sound, some not, some beyond what the engine knows.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

const ATOMS: &[&str] = &[
    "a",
    "b",
    "A",
    "B",
    "1",
    "0",
    " ",
    "_",
    "-",
    "é",
    "ß",
    "😀",
    ".",
    "\\.",
    "\\d",
    "\\w",
    "\\s",
    "\\D",
    "\\W",
    "\\S",
    "\\n",
    "\\[",
    "\\\\",
    "[ab]",
    "[^ab]",
    "[a-c]",
    "[^A-Z]",
    "[0-9_]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[\\d.]",
    "[\\w-]",
    "[\\s\\]]",
    "[[:alpha:]]",
    "[^[:digit:]]",
    "[[:space:]b]",
    "[[:upper:]]",
    "[[:punct:]]",
    "[[:alnum:]_]",
    "[X-b]",
    "[à-ü]",
    "]",
    "}",
    "\n",
];

/// What the engine leaves to Postgres, and what neither takes.
const ODD: &[&str] = &[
    "\\y", "\\m", "\\M", "\\A", "\\Z", "(a)\\1", "(?=a)", "(?!b)", "(?<=a)", "\\x61", "\\b", "\\B",
    "{", "a{", "*", "+", "**", "(", ")", "[", "[z-a]", "[[.a.]]", "[[=a=]]", "\\", "(?n)", "***=",
    "{1", "{,2}", "^*", "[a-\\d]", "[\\D]", "a{256}", "a{2,1}", "[a-b-c]", "[--a]", "[[:x:]]",
    "(?i)",
];

pub(super) fn pattern(random: &mut SmallRng) -> String {
    let mut out = String::new();
    if random.random_ratio(1, 10) {
        out.push_str("(?i)");
    }
    if random.random_ratio(1, 4) {
        out.push('^');
    }
    alternatives(random, &mut out, 2);
    if random.random_ratio(1, 4) {
        out.push('$');
    }
    if random.random_ratio(1, 8) {
        let odd = ODD.choose(random).unwrap();
        match random.random_bool(0.5) {
            true => out.push_str(odd),
            false => out = format!("{odd}{out}"),
        }
    }
    out
}

fn alternatives(random: &mut SmallRng, out: &mut String, depth: usize) {
    for at in 0..=random.random_range(0..3_u8) / 2 {
        if at > 0 {
            out.push('|');
        }
        for _ in 0..random.random_range(0..4) {
            atom(random, out, depth);
        }
    }
}

fn atom(random: &mut SmallRng, out: &mut String, depth: usize) {
    match random.random_range(0..8) {
        0 if depth > 0 => {
            out.push_str(["(", "(?:"].choose(random).unwrap());
            alternatives(random, out, depth - 1);
            out.push(')');
        }
        1 if random.random_bool(0.2) => out.push_str(["^", "$"].choose(random).unwrap()),
        _ => out.push_str(ATOMS.choose(random).unwrap()),
    }
    if random.random_ratio(1, 3) {
        let signs = [
            "*", "+", "?", "{2}", "{1,2}", "{0,}", "{0}", "*?", "+?", "??", "{1,2}?",
        ];
        out.push_str(signs.choose(random).unwrap());
    }
}
