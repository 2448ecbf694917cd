"""One file a page: `dash.register_page`, a `layout`, and its callbacks."""
