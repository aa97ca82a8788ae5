//! `lorectl graph`: resources, what depends on what, and what the next apply would do to each.

use std::collections::BTreeMap;

use crate::{
    error::{Code, Result},
    id::Address,
    plan::Options,
    resource::Action,
    view::graph::{Edge, Format, Graph, Node},
};

use super::{
    Done,
    args::GraphFormat,
    context::Context,
    project::{Project, readers},
    status::memory,
};

/// Prints the graph: of the plan, or of the state where there is no spec.
pub async fn run(context: &Context, format: GraphFormat) -> Result<Done> {
    let (project, actions, needs) = match context.spec() {
        Ok(spec) => {
            let mut project = Project::open(context, spec.project.clone())?;
            let wish = project.wish(&spec)?;
            drop(spec);
            let backends = project.backends(&wish)?;
            let options = Options::default();
            let (situation, plan) = project.plan(wish, &readers(&backends), options).await?;
            let mut needs = BTreeMap::new();
            for (address, record) in &situation.applied {
                needs.insert(address.clone(), record.meta.depends_on.clone());
            }
            for (address, desired) in &situation.wish.desired {
                needs.insert(address.clone(), desired.meta.depends_on.clone());
            }
            let changes = plan.changes.into_iter();
            let actions = changes.map(|change| (change.address, change.action));
            (
                project.layout.project().to_string(),
                actions.collect(),
                needs,
            )
        }
        Err(error) if error.code == Code::SpecNotFound && context.global.files.is_empty() => {
            let layout = context.layout(context.project()?);
            let records = memory(context, &layout)?.state.resources;
            let actions = records.keys().map(|one| (one.clone(), Action::NoOp));
            let actions: BTreeMap<Address, Action> = actions.collect();
            let needs = records
                .into_iter()
                .map(|(address, record)| (address, record.meta.depends_on));
            (layout.project().to_string(), actions, needs.collect())
        }
        Err(error) => return Err(error),
    };
    context.show(&graph(project, &actions, &needs, format))
}

fn graph(
    project: String,
    actions: &BTreeMap<Address, Action>,
    needs: &BTreeMap<Address, Vec<Address>>,
    format: GraphFormat,
) -> Graph {
    let nodes = actions.iter().map(|(address, action)| Node {
        address: address.clone(),
        actions: *action,
    });
    let edges = needs.iter().flat_map(|(from, all)| {
        let known = all.iter().filter(|to| actions.contains_key(*to));
        known.map(|to| Edge {
            from: from.clone(),
            to: to.clone(),
        })
    });
    let mut edges: Vec<Edge> = edges.collect();
    edges.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    edges.dedup_by(|a, b| (&a.from, &a.to) == (&b.from, &b.to));
    Graph {
        project,
        nodes: nodes.collect(),
        edges,
        format: match format {
            GraphFormat::Dot => Format::Dot,
            GraphFormat::Mermaid => Format::Mermaid,
        },
    }
}
