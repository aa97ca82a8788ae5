//! What resources need: that what is named is there, and that no resource waits for itself.

use std::collections::BTreeMap;

use crate::{id::Address, service::spec::Problem, service::spec::check::nearest};

/// That a resource needs another.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The other.
    pub to: Address,
    /// Where that is written, as a JSON pointer from the resource's table.
    pub at: String,
    /// How the other is named there.
    pub named: Named,
}

/// How a resource is named that another needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// By its address.
    Whole,
    /// By its name alone.
    Name,
    /// By something else that the resource names, which is found fault with if it is not there.
    Through,
}

/// A resource's address and what it needs, in the order in which it is written.
pub type Edges = BTreeMap<Address, Vec<Edge>>;

/// What a resource's `depends_on` names.
pub fn depends_on(named: &[Address]) -> impl Iterator<Item = Edge> {
    named.iter().enumerate().map(|(index, to)| Edge {
        to: to.clone(),
        at: format!("/depends_on/{index}"),
        named: Named::Whole,
    })
}

/// How many missing names get a "did you mean": each is compared with every name that there is.
const SUGGESTED: usize = 20;

/// What is named and is not there: whose problem it is, and the problem.
pub fn dangling(edges: &Edges) -> Vec<(Address, Problem)> {
    let mut problems = Vec::new();
    for (from, to) in edges {
        for edge in to {
            let address = &edge.to;
            if edges.contains_key(address) || edge.named == Named::Through {
                continue;
            }
            let message = format!("there is no `{address}` in this spec");
            let mut problem = Problem::at(edge.at.clone(), message);
            if problems.len() < SUGGESTED {
                let known = edges.keys().filter(|known| known.kind == address.kind);
                let known = known.map(|known| known.name.as_str());
                if let Some(near) = nearest(address.name.as_str(), known) {
                    problem = problem.suggest(match edge.named {
                        Named::Whole => format!("did you mean `{}.{near}`?", address.kind),
                        Named::Name | Named::Through => format!("did you mean `{near}`?"),
                    });
                }
            }
            problems.push((from.clone(), problem));
        }
    }
    problems
}

/// Each cycle once, at the place in its first member by name that leads into it.
pub fn cycles(edges: &Edges) -> Vec<(Address, Problem)> {
    let nodes: Vec<&Address> = edges.keys().collect();
    let index: BTreeMap<&Address, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (*node, at))
        .collect();
    let next: Vec<Vec<usize>> = (edges.values())
        .map(|to| (to.iter().filter_map(|edge| index.get(&edge.to).copied())).collect())
        .collect();
    let mut state = vec![State::New; nodes.len()];
    let mut problems = Vec::new();
    for start in 0..nodes.len() {
        // Depth first with a stack of our own: a chain of ten thousand would overflow the thread's.
        let mut stack: Vec<(usize, usize)> = Vec::new();
        if state.get(start) == Some(&State::New) {
            stack.push((start, 0));
        }
        while let Some((node, edge)) = stack.last_mut() {
            let at = *node;
            if *edge == 0
                && let Some(state) = state.get_mut(at)
            {
                *state = State::Open;
            }
            let to = next.get(at).and_then(|next| next.get(*edge)).copied();
            *edge += 1;
            match to {
                None => {
                    if let Some(state) = state.get_mut(at) {
                        *state = State::Done;
                    }
                    stack.pop();
                }
                Some(to) => match state.get(to) {
                    Some(State::New) => stack.push((to, 0)),
                    Some(State::Open) => {
                        let cycle: Vec<usize> = (stack.iter().map(|(node, _)| *node))
                            .skip_while(|node| *node != to)
                            .collect();
                        problems.extend(cycle_problem(&cycle, &nodes, edges));
                    }
                    Some(State::Done) | None => {}
                },
            }
        }
    }
    problems
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn cycle_problem(cycle: &[usize], nodes: &[&Address], edges: &Edges) -> Option<(Address, Problem)> {
    // Nodes are in the order of their names, so the smallest index is the first by name.
    let lowest = cycle.iter().enumerate().min_by_key(|(_, node)| **node)?.0;
    let turned: Vec<&Address> = (cycle.iter().cycle().skip(lowest).take(cycle.len()))
        .filter_map(|node| nodes.get(*node).copied())
        .collect();
    let (first, second) = (turned.first()?, turned.get(1).or(turned.first())?);
    let names: Vec<String> = match turned.as_slice() {
        [head @ .., last] if head.len() > 12 => (head.iter().take(12).map(ToString::to_string))
            .chain(["…".to_owned(), last.to_string(), first.to_string()])
            .collect(),
        all => (all.iter().chain([first]))
            .map(ToString::to_string)
            .collect(),
    };
    let edge = edges.get(*first)?.iter().find(|edge| edge.to == **second)?;
    let problem = Problem::at(
        edge.at.clone(),
        format!(
            "the dependencies go round in a circle: {}",
            names.join(" → ")
        ),
    );
    Some(((*first).clone(), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(graph: &[(&str, &[&str])], find: fn(&Edges) -> Vec<(Address, Problem)>) -> String {
        let address = |name: &&str| format!("service.{name}").parse::<Address>().unwrap();
        let edges: Edges = (graph.iter())
            .map(|(from, to)| {
                let named: Vec<Address> = to.iter().map(address).collect();
                (address(from), depends_on(&named).collect())
            })
            .collect();
        let lines: Vec<String> = find(&edges)
            .into_iter()
            .map(|(owner, problem)| format!("{owner}{} {}", problem.at, problem.message))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn a_cycle_is_named_once_from_its_first_member() {
        let round = |names: &str| format!("the dependencies go round in a circle: {names}");
        for (graph, expected) in [
            (
                &[("a", &["b"][..]), ("b", &["c"]), ("c", &[])][..],
                String::new(),
            ),
            // Two ways to one place are no cycle.
            (
                &[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])],
                String::new(),
            ),
            (
                &[("a", &["c"]), ("b", &["c"]), ("c", &["x", "b"]), ("x", &[])],
                format!(
                    "service.b/depends_on/0 {}",
                    round("service.b → service.c → service.b")
                ),
            ),
            (
                &[("a", &["b"]), ("b", &["a", "b"])],
                format!(
                    "service.a/depends_on/0 {}\nservice.b/depends_on/1 {}",
                    round("service.a → service.b → service.a"),
                    round("service.b → service.b")
                ),
            ),
        ] {
            assert_eq!(found(graph, cycles), expected);
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_its_place() {
        let graph: &[(&str, &[&str])] = &[("sync", &["sync", "snyc", "other"])];
        assert_eq!(
            found(graph, dangling),
            "service.sync/depends_on/1 there is no `service.snyc` in this spec\n\
             service.sync/depends_on/2 there is no `service.other` in this spec"
        );
    }
}
