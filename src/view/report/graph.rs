//! What depends on what, among the resources that change: a picture, left to right, what is needed first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::html::escape;
use crate::{id::Address, plan::saved::Saved, resource::Action};

/// With more resources than this, a picture shows nothing.
const MOST: usize = 60;
/// The size of a box and the room around it, in pixels.
const BOX: (usize, usize) = (190, 28);
const GAP: (usize, usize) = (50, 14);
/// Characters of an address that a box has room for.
const ROOM: usize = 24;

/// The picture as inline SVG; `None` where nothing depends on anything, or too much does.
pub fn draw(saved: &Saved) -> Option<String> {
    let actions: BTreeMap<&Address, Action> = saved
        .done()
        .map(|change| (&change.address, change.values.action))
        .collect();
    let edges: Vec<(&Address, &Address)> = saved
        .done()
        .flat_map(|change| {
            let to = &change.address;
            let needed = change.values.depends_on.0.iter();
            needed.map(move |from| (from, to))
        })
        .collect();
    let nodes: BTreeSet<&Address> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
    if edges.is_empty() || nodes.len() > MOST {
        return None;
    }
    let places = places(&nodes, &edges);
    let columns = places.values().map(|(x, _)| x + 1).max()?;
    let rows = places.values().map(|(_, y)| y + 1).max()?;
    let (width, height) = (
        columns * (BOX.0 + GAP.0) - GAP.0 + 2,
        rows * (BOX.1 + GAP.1) - GAP.1 + 2,
    );
    // Writing to a string does not fail.
    let mut out = format!(
        "<svg role=\"img\" aria-label=\"What depends on what\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n"
    );
    let corner = |at: &(usize, usize)| (at.0 * (BOX.0 + GAP.0) + 1, at.1 * (BOX.1 + GAP.1) + 1);
    for (from, to) in &edges {
        if let (Some(from), Some(to)) = (places.get(from), places.get(to)) {
            let (from, to) = (corner(from), corner(to));
            let (x, y) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
            let (end_x, end_y) = (to.0, to.1 + BOX.1 / 2);
            let bend = GAP.0 / 2;
            let _ = writeln!(
                out,
                "<path d=\"M{x} {y} C{} {y} {} {end_y} {end_x} {end_y}\"/>",
                x + bend,
                end_x.saturating_sub(bend)
            );
        }
    }
    for (address, place) in &places {
        let (x, y) = corner(place);
        let action = actions.get(address).copied().unwrap_or(Action::NoOp);
        let name = address.to_string();
        let _ = writeln!(
            out,
            "<g class=\"{}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"5\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
            super::word(action),
            escape(&name),
            BOX.0,
            BOX.1,
            x + 10,
            y + 18,
            escape(&super::cut(&name, ROOM))
        );
    }
    out.push_str("</svg>\n");
    Some(out)
}

/// A column and a row for each: a column behind all that is needed. What goes round in a circle, which
/// no plan does, ends in the last column.
fn places<'a>(
    nodes: &BTreeSet<&'a Address>,
    edges: &[(&'a Address, &'a Address)],
) -> BTreeMap<&'a Address, (usize, usize)> {
    let mut columns: BTreeMap<&Address, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for _ in 0..nodes.len() {
        for (from, to) in edges {
            let after = columns.get(from).map_or(0, |column| column + 1);
            let column = columns.entry(*to).or_default();
            *column = (*column).max(after).min(nodes.len() - 1);
        }
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    columns
        .into_iter()
        .map(|(node, column)| {
            let next = rows.entry(column).or_default();
            let row = *next;
            *next += 1;
            (node, (column, row))
        })
        .collect()
}
