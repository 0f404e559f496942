// Package githubaction holds a GitHub Action that runs an agent in a job or on
// the server, and gives what it said to later steps. Its test runs the Action's
// programs against a server, as a job would.
//
// In a workflow:
//
//   - uses: oz-platform/cloudagents/examples/github-action@main
//     with:
//     prompt: Why does the build fail?
//     warp_api_key: ${{ secrets.WARP_API_KEY }}
//     server: https://oz.example.com
//
// See workflows/respond.yml for a whole one.
package githubaction
