//! What was found, as tables and as JSON.
use super::Measured;
use super::brokers::Broker;
use super::chart::{self, Line};
use super::scenarios::Scenario;
use super::statistics::{Spread, ratio};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A figure of a scenario: for each broker, its value in each round.
struct Row {
    name: String,
    unit: String,
    better: String,
    values: Vec<Vec<Option<f64>>>,
}

/// Percentiles that a table shows; the JSON of the rounds has all.
const PERCENTILES: [(&str, &str); 3] = [("p50", "50 %"), ("p99", "99 %"), ("p999", "99.9 %")];

/// The figures of one measurement: name, unit, which is better, value.
fn figures(found: &Value) -> Vec<(String, String, String, f64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for figure in found["figures"].as_array().into_iter().flatten() {
        let value = figure["value"].as_f64().unwrap_or(f64::NAN);
        all.push((text(&figure["name"]), text(&figure["unit"]), text(&figure["better"]), value));
    }
    for delay in found["delays"].as_array().into_iter().flatten() {
        for (key, percent) in PERCENTILES {
            let value = delay[key].as_f64().unwrap_or(f64::NAN);
            all.push((format!("{}, {percent}", text(&delay["name"])), text(&delay["unit"]), "lower".to_owned(), value));
        }
    }
    all
}

fn rows(found: &[Vec<Measured>]) -> Vec<Row> {
    let rounds = found.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<Row> = Vec::new();
    for (broker, all) in found.iter().enumerate() {
        for (round, measured) in all.iter().enumerate() {
            let Measured::Found(value) = measured else { continue };
            for (name, unit, better, value) in figures(value) {
                let index = rows.iter().position(|row| row.name == name && row.unit == unit).unwrap_or_else(|| {
                    rows.push(Row { name, unit, better, values: vec![vec![None; rounds]; found.len()] });
                    rows.len() - 1
                });
                rows[index].values[broker][round] = Some(value);
            }
        }
    }
    rows
}

/// The rounds of a broker that found nothing, or something that is not right.
fn problems(found: &[Measured]) -> Vec<String> {
    let problem = |(round, measured): (usize, &Measured)| match measured {
        Measured::Failed(why) => Some(format!("round {}: {why}", round + 1)),
        Measured::Found(value) if !measured.is_sound() => {
            let check = value["check"].as_object().into_iter().flatten();
            let faults = ["lost", "duplicated", "reordered", "unacknowledged", "failed_clients"];
            let found = check.filter(|(name, count)| faults.contains(&name.as_str()) && count.as_u64() != Some(0));
            let words: Vec<String> = found.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
            Some(format!("round {}: {}", round + 1, words.join(", ")))
        }
        Measured::Found(_) => None,
    };
    found.iter().enumerate().filter_map(problem).collect()
}

/// A table of a scenario.
pub(crate) fn scenario(scenario: &Scenario, brokers: &[Broker], found: &[Vec<Measured>]) -> String {
    let mut text = format!("\n### {}\n\n`zanzara bench {}`\n\n", scenario.name, scenario.arguments.join(" "));
    let mut say = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("writing to a String cannot fail");
    say(format_args!("| figure | better |"));
    for (index, broker) in brokers.iter().enumerate() {
        say(format_args!(" {} |", broker.name));
        if index > 0 {
            say(format_args!(" {} / {} |", brokers[0].name, broker.name));
        }
    }
    say(format_args!("\n|---|---|{}\n", "---:|".repeat(2 * brokers.len() - 1)));
    for row in rows(found) {
        say(format_args!("| {} ({}) | {} |", row.name, row.unit, row.better));
        for (index, values) in row.values.iter().enumerate() {
            say(format_args!(" {} |", cell(Spread::of(values.iter().flatten().copied()), "")));
            if index > 0 {
                say(format_args!(" {} |", cell(ratio(&row.values[0], values), "×")));
            }
        }
        say(format_args!("\n"));
    }
    for (broker, rounds) in brokers.iter().zip(found) {
        for problem in problems(rounds) {
            say(format_args!("\n{}, {problem}\n", broker.name));
        }
    }
    text
}

/// The median, and the least and the greatest of all rounds.
fn cell(spread: Option<Spread>, unit: &str) -> String {
    let Some(Spread { median, min, max }) = spread else { return "–".to_owned() };
    let (shown, least, greatest) = (number(median), number(min), number(max));
    if least == greatest { format!("{shown}{unit}") } else { format!("{shown}{unit} ({least}–{greatest})") }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e7 => format!("{:.1}M", value / 1e6),
        size if size >= 1e6 => format!("{:.2}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// One figure of a curve.
struct Curve {
    name: &'static str,
    figure: String,
    unit: String,
    lines: Vec<Line>,
}

/// The pictures of all curves: names of files, and their content.
pub(crate) fn pictures(
    scenarios: &[Scenario],
    brokers: &[Broker],
    found: &[Vec<Vec<Measured>>],
) -> Vec<(String, String)> {
    let mut curves: Vec<Curve> = Vec::new();
    for (scenario, results) in scenarios.iter().zip(found) {
        let Some((name, n)) = scenario.point else { continue };
        for row in rows(results) {
            let (figure, unit) = (row.name.replace(&format!(", {n} offline"), ""), row.unit);
            let same = |known: &Curve| known.name == name && known.figure == figure && known.unit == unit;
            let index = curves.iter().position(same).unwrap_or_else(|| {
                let lines =
                    brokers.iter().map(|broker| Line { name: broker.name.clone(), points: Vec::new() }).collect();
                curves.push(Curve { name, figure, unit, lines });
                curves.len() - 1
            });
            for (line, values) in curves[index].lines.iter_mut().zip(&row.values) {
                line.points.extend(Spread::of(values.iter().flatten().copied()).map(|spread| (n, spread)));
            }
        }
    }
    let picture = |Curve { name, figure, unit, lines }: &Curve| {
        let words = figure.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let file = format!("{name}-{}.svg", words.collect::<Vec<&str>>().join("-"));
        let svg = chart::svg(&format!("{figure} ({unit})"), name, lines)?;
        lines.iter().any(|line| line.points.len() > 1).then_some((file, svg))
    };
    curves.iter().filter_map(picture).collect()
}

/// What stands above the tables.
pub(crate) fn head(head: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut out = format!(
        "# Brokers side by side\n\n{}, {} cores; brokers on {}, the load on {}; medians of {} interleaved rounds (least–greatest), \
         flows for {} each.\nRatios are those of ours to theirs within a round.\n\n",
        text(&head["processor"]),
        head["cores"],
        head["broker_cores"].as_str().map_or("any core".to_owned(), |cores| format!("core {cores}")),
        head["load_cores"].as_str().map_or("any core".to_owned(), |cores| format!("core {cores}")),
        head["rounds"],
        text(&head["duration"]),
    );
    for broker in head["brokers"].as_array().into_iter().flatten() {
        let line = format!("- {} {}: {}", text(&broker["name"]), text(&broker["version"]), text(&broker["settings"]));
        out = out + &line + "\n";
    }
    out
}

/// The same for programs, with every round.
pub(crate) fn json(scenario: &Scenario, brokers: &[Broker], found: &[Vec<Measured>]) -> Value {
    let figures: Vec<Value> = rows(found)
        .iter()
        .map(|row| {
            let of = |(broker, values): (&Broker, &Vec<Option<f64>>)| {
                json!({
                    "broker": broker.name,
                    "values": values,
                    "spread": Spread::of(values.iter().flatten().copied()).map(Spread::json),
                    "ratio_of_ours": ratio(&row.values[0], values).map(Spread::json),
                })
            };
            let brokers: Vec<Value> = brokers.iter().zip(&row.values).map(of).collect();
            json!({ "name": row.name, "unit": row.unit, "better": row.better, "brokers": brokers })
        })
        .collect();
    let round = |measured: &Measured| match measured {
        Measured::Found(value) => value.clone(),
        Measured::Failed(why) => json!({ "failed": why }),
    };
    let rounds: Vec<Value> = brokers
        .iter()
        .zip(found)
        .map(|(broker, rounds)| json!({ "broker": broker.name, "rounds": rounds.iter().map(round).collect::<Vec<Value>>() }))
        .collect();
    json!({ "name": scenario.name, "arguments": scenario.arguments, "figures": figures, "measurements": rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rate: f64, lost: u64) -> Measured {
        Measured::Found(json!({
            "figures": [{ "name": "delivered", "value": rate, "unit": "messages/s", "better": "higher" }],
            "delays": [{ "name": "delay", "unit": "µs", "p50": 1.0, "p99": 2.0, "p999": 3.0 }],
            "check": { "lost": lost, "duplicated": 0, "sound": lost == 0 },
        }))
    }

    #[test]
    fn a_table_has_medians_ratios_and_what_went_wrong() {
        let broker = |name: &str| Broker {
            name: name.to_owned(),
            version: String::new(),
            settings: String::new(),
            command: Vec::new(),
            config: String::new(),
        };
        let one = Scenario { name: "s".to_owned(), arguments: vec!["fan-in".to_owned()], point: None };
        let found = vec![
            vec![measured(3e6, 0), measured(1e6, 0)],
            vec![measured(1e6, 5), Measured::Failed("it died".to_owned())],
        ];
        let text = scenario(&one, &[broker("a"), broker("b")], &found);
        assert!(text.contains("| figure | better | a | b | a / b |"), "{text}");
        let row = "| delivered (messages/s) | higher | 2.00M (1.00M–3.00M) | 1.00M | 3.00× |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| delay, 99 % (µs) | lower |"), "{text}");
        assert!(text.contains("b, round 1: 5 lost\n"), "{text}");
        assert!(text.contains("b, round 2: it died\n"), "{text}");
        let json = json(&one, &[broker("a"), broker("b")], &found);
        assert_eq!(json["figures"][0]["brokers"][1]["ratio_of_ours"]["median"], 3.0);
        assert_eq!(json["measurements"][1]["rounds"][1]["failed"], "it died");
        let curve = |n| Scenario { point: Some(("c", n)), ..one.clone() };
        let again = || vec![vec![measured(1e6, 0)], vec![measured(1e6, 0)]];
        let pictures = pictures(&[curve(1), curve(10)], &[broker("a"), broker("b")], &[again(), again()]);
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["c-delivered.svg", "c-delay-50.svg", "c-delay-99.svg", "c-delay-99-9.svg"]);
    }
}
