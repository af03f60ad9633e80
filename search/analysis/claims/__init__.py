"""The claims of Li et al. 2020 (*Train Large, Then Compress*), tested on a search's own trials."""
