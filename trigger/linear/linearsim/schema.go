package linearsim

// schema is the part of Linear's that the simulator has, in Linear's words:
// whatever asks for more, or in another form, is refused as Linear refuses it.
const schema = `
scalar DateTime
scalar JSONObject
type Query {
  viewer: User!
  user(id: String!): User!
  users(filter: UserFilter, first: Int): UserConnection!
  issue(id: String!): Issue!
  comments(filter: CommentFilter, first: Int): CommentConnection!
  agentActivities(filter: AgentActivityFilter, first: Int): AgentActivityConnection!
}
type Mutation {
  commentCreate(input: CommentCreateInput!): CommentPayload!
  commentUpdate(id: String!, input: CommentUpdateInput!): CommentPayload!
  agentActivityCreate(input: AgentActivityCreateInput!): AgentActivityPayload!
  agentSessionUpdate(id: String!, input: AgentSessionUpdateInput!): AgentSessionPayload!
}
enum PaginationOrderBy { createdAt updatedAt }
enum AgentActivitySignal { auth continue select stop }
input IDComparator { eq: ID in: [ID!] }
input UserFilter { id: IDComparator }
input CommentFilter { id: IDComparator }
input AgentActivityFilter { id: IDComparator }
input CommentCreateInput { id: String issueId: String parentId: String body: String }
input CommentUpdateInput { body: String }
input AgentActivityCreateInput { id: String agentSessionId: String! content: JSONObject! ephemeral: Boolean signal: AgentActivitySignal signalMetadata: JSONObject }
input AgentSessionExternalUrlInput { label: String! url: String! }
input AgentSessionUpdateInput { addedExternalUrls: [AgentSessionExternalUrlInput!] externalUrls: [AgentSessionExternalUrlInput!] plan: JSONObject }
type CommentPayload { success: Boolean! comment: Comment! }
type AgentActivityPayload { success: Boolean! agentActivity: AgentActivity! }
type AgentSessionPayload { success: Boolean! agentSession: AgentSession! }
type User { id: ID! name: String! displayName: String! email: String! app: Boolean! active: Boolean! guest: Boolean! }
type UserConnection { nodes: [User!]! }
type Team { id: ID! name: String! key: String! }
type Project { id: ID! name: String! }
type WorkflowState { id: ID! name: String! type: String! }
type IssueLabel { id: ID! name: String! }
type IssueLabelConnection { nodes: [IssueLabel!]! }
type ActorBot { name: String }
type Issue { id: ID! identifier: String! title: String! description: String url: String! createdAt: DateTime! updatedAt: DateTime!
  team: Team! project: Project state: WorkflowState! assignee: User delegate: User
  labels(first: Int): IssueLabelConnection! comments(first: Int, orderBy: PaginationOrderBy): CommentConnection! }
type Comment { id: ID! body: String! createdAt: DateTime! updatedAt: DateTime! user: User botActor: ActorBot issue: Issue parent: Comment url: String! }
type CommentConnection { nodes: [Comment!]! }
type AgentSession { id: ID! status: String! }
type AgentActivity { id: ID! createdAt: DateTime! }
type AgentActivityConnection { nodes: [AgentActivity!]! }
`
