//! Strongly connected components of a directed graph (Tarjan's algorithm).

use std::collections::{BTreeMap, BTreeSet};

/// A directed graph: the successors of each node.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns the strongly connected components of two nodes or more, each sorted.
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let mut search = Search { graph, visited: BTreeMap::new(), open: Vec::new(), circles: Vec::new() };
    for node in graph.keys() {
        if !search.visited.contains_key(node.as_str()) {
            search.visit(node);
        }
    }
    search.circles.sort();
    search.circles
}

/// State of the depth-first search.
struct Search<'a> {
    graph: &'a Graph,
    /// Visit order of each node, and whether its component is still open.
    visited: BTreeMap<&'a str, (usize, bool)>,
    /// Nodes of components that are still open, in visit order.
    open: Vec<&'a str>,
    circles: Vec<Vec<String>>,
}

impl<'a> Search<'a> {
    /// Visits a node and its successors. Returns the lowest visit order of the open nodes that they reach.
    fn visit(&mut self, node: &'a str) -> usize {
        let order = self.visited.len();
        self.visited.insert(node, (order, true));
        self.open.push(node);
        let mut lowest = order;
        for next in self.graph.get(node).into_iter().flatten() {
            let reached = match self.visited.get(next.as_str()) {
                None => self.visit(next),
                Some((order, true)) => *order,
                Some((_, false)) => continue,
            };
            lowest = lowest.min(reached);
        }
        if lowest == order {
            self.close(node);
        }
        lowest
    }

    /// Closes the component whose first visited node is `node`.
    fn close(&mut self, node: &str) {
        let start = self.open.iter().rposition(|open| *open == node).unwrap_or(self.open.len());
        let members = self.open.split_off(start);
        for member in &members {
            self.visited.entry(member).and_modify(|(_, open)| *open = false);
        }
        if members.len() > 1 {
            let mut circle: Vec<_> = members.into_iter().map(str::to_owned).collect();
            circle.sort();
            self.circles.push(circle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&str, &str)]) -> Vec<Vec<String>> {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circles(&graph)
    }

    #[test]
    fn a_graph_whose_arrows_point_one_way_has_none() {
        assert!(found(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).is_empty());
    }

    #[test]
    fn nodes_that_reach_each_other_are_one_circle() {
        assert_eq!(found(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("x", "a")]), [["a", "b", "c"]]);
    }

    #[test]
    fn each_circle_is_found_once() {
        let edges = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c"), ("a", "d")];
        assert_eq!(found(&edges), [["a", "b"], ["c", "d"]]);
    }
}
