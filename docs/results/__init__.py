"""Results of runs, and the claims of papers that they are compared with: what fills the page on reproductions."""
