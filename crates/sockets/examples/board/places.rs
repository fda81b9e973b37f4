//! What the page is told at its beginning: the airports, and the outline of the map.

use serde::Serialize;

use crate::timetable::Timetable;

const AIRPORTS: &str = include_str!("data/airports.csv");
const OUTLINE: &str = include_str!("data/outline.txt");

/// The content of `board.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Board {
    /// The airports, the one with the most flights first.
    airports: Vec<Airport>,
    outline: &'static str,
    speed: f64,
    /// The name of this server.
    node: String,
}

/// Code, city, state, latitude, longitude.
type Place = (String, String, String, f64, f64);

/// A place, and the number of flights: one array in JSON.
#[derive(Debug, Serialize)]
struct Airport(String, String, String, f64, f64, u64);

impl Board {
    /// # Errors
    /// An airport of the flights whose place is not known.
    pub(crate) fn new(timetable: &Timetable, speed: f64, node: String) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(AIRPORTS.as_bytes());
        let places: Result<Vec<Place>, _> = reader.deserialize().collect();
        let places = places.map_err(|error| format!("airports.csv: {error}"))?;
        let mut airports = Vec::new();
        for (code, flights) in timetable.flights() {
            let place = places.iter().find(|place| place.0 == code);
            let Some((code, city, state, latitude, longitude)) = place.cloned() else {
                return Err(format!("airports.csv has no place for {code}"));
            };
            airports.push(Airport(code, city, state, latitude, longitude, flights));
        }
        airports.sort_by(|a, b| b.5.cmp(&a.5).then_with(|| a.0.cmp(&b.0)));
        Ok(Self {
            airports,
            outline: OUTLINE,
            speed,
            node,
        })
    }
}
