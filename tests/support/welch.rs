//! Whether two samples of times differ, as dudect asks it (Reparaz, Balasch and Verbauwhede, "Dude, is
//! my code constant time?", 2017): Welch's t over all, and over those below a percentile, because
//! the longest times are the machine's. Included by path, so it stands alone.
#![allow(dead_code)] // Not every program that includes it uses all of it.

/// Two samples, in nanoseconds.
#[derive(Default)]
pub struct Samples {
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The percentile above which samples were left out, and Welch's t of the rest.
    pub t: Vec<(u32, f64)>,
    /// The medians.
    pub medians: (f64, f64),
    /// The greatest distance of the two distributions (Kolmogorov and Smirnov), and the one that
    /// equal distributions exceed once in a thousand times.
    pub distance: (f64, f64),
}

fn moments(sample: &[f64]) -> (f64, f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let squares = sample.iter().map(|it| (it - mean).powi(2)).sum::<f64>();
    (n, mean, squares / (n - 1.0))
}

/// Welch's t.
pub fn welch(first: &[f64], second: &[f64]) -> f64 {
    let ((n, mean, variance), (m, other, others)) = (moments(first), moments(second));
    (mean - other) / (variance / n + others / m).sqrt()
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sample = sample.to_vec();
    sample.sort_by(f64::total_cmp);
    sample
}

impl Samples {
    /// Compares the two.
    pub fn compare(&self) -> Found {
        let (first, second) = (sorted(&self.first), sorted(&self.second));
        let all = sorted(&[first.as_slice(), &second].concat());
        let below = |sample: &[f64], limit: f64| -> Vec<f64> {
            sample.iter().copied().filter(|it| *it <= limit).collect()
        };
        let t = [100_u32, 99, 95, 90, 75, 50]
            .into_iter()
            .map(|percent| {
                let limit = all[(all.len() - 1) * percent as usize / 100];
                (
                    percent,
                    welch(&below(&first, limit), &below(&second, limit)),
                )
            })
            .collect();
        let mut distance = 0.0_f64;
        for value in &all {
            let part = |sample: &[f64]| {
                sample.partition_point(|it| it <= value) as f64 / sample.len() as f64
            };
            distance = distance.max((part(&first) - part(&second)).abs());
        }
        let (n, m) = (first.len() as f64, second.len() as f64);
        Found {
            t,
            medians: (first[first.len() / 2], second[second.len() / 2]),
            distance: (distance, 1.949 * ((n + m) / (n * m)).sqrt()),
        }
    }
}

impl Found {
    /// One line for people.
    pub fn line(&self, what: &str) -> String {
        let t: Vec<String> = self
            .t
            .iter()
            .map(|(percent, t)| format!("{t:+.2} ({percent} %)"))
            .collect();
        format!(
            "timing: {what}: medians {:.0} and {:.0} ns; t {}; distance {:.4}, of chance {:.4}",
            self.medians.0,
            self.medians.1,
            t.join(", "),
            self.distance.0,
            self.distance.1
        )
    }
}
